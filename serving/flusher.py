"""A thread that writes what waits, again and again, and once more at the end."""

import logging
import threading
from collections.abc import Callable
from typing import Final

LOG: Final = logging.getLogger("opportune.flusher")
FLUSH_EVERY_S: Final = 0.2
_ENDS_WITHIN_S: Final = 5.0


class Flusher:
    """Calls `flush` five times a second between `start` and `stop`.

    What `flush` raises is told in the log and ends nothing.
    """

    def __init__(self, flush: Callable[[], None], *, name: str) -> None:
        self._flush = flush
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to flush."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and end; one that was not started has nothing to end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_ENDS_WITHIN_S)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stop.wait(FLUSH_EVERY_S)
            try:
                self._flush()
            except Exception:  # whoever is written for must outlive every surprise
                LOG.exception(
                    "%s failed; it is tried again with what comes next", self._thread.name
                )
