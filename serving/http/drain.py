"""How the process ends: it says goodbye on every connection before it stops to listen.

A server that closes idle connections when SIGTERM comes closes some under a request that is on its
way: the sender sees a broken connection and skips the mail. So for a while after the signal
everything goes on, but each answer carries `Connection: close` and `/readyz` says 503: balancers
look elsewhere, and who keeps connections open lets go of them between two requests.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

LOG: Final = logging.getLogger("opportune.drain")


class Drain:
    """Whether the process is about to end.

    Args:
        seconds: From the signal until the server is told to end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.is_ending = False

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Put the goodbye before what the server does at SIGTERM; in its running event loop.

        A second signal is passed on at once.
        """
        if threading.current_thread() is not threading.main_thread():  # signals come elsewhere
            yield
            return
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGTERM)

        def end(number: int, frame: FrameType | None) -> None:
            if callable(before):
                before(number, frame)

        def begin(number: int, frame: FrameType | None) -> None:
            if self.is_ending:
                end(number, frame)
                return
            self.is_ending = True
            LOG.info("ending in %g s", self._seconds)
            loop.call_soon_threadsafe(loop.call_later, self._seconds, end, number, frame)

        signal.signal(signal.SIGTERM, begin)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
