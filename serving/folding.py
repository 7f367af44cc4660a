"""Events into states: a few in this process, many in one of its own.

A store that comes back empty, or an import by somebody else, leaves a long log to be folded. In
this process that would take the interpreter from the scores for as long.
"""

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from features.events.log import EventLog
from features.online import open_store
from features.stream import Stream

LOG: Final = logging.getLogger("opportune.folding")
MANY: Final = 5_000  # events; folding them takes some 100 ms
NICE: Final = 10  # scores come first where there is one core


class Folding:
    """Keeps states up to date with the log.

    Args:
        address: Of the online store that `stream` writes.
    """

    def __init__(self, stream: Stream, *, address: str) -> None:
        self._stream = stream
        self._address = address
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_ending = False

    def catch_up(self) -> None:
        """Fold every event of the log that the store has not seen; return when that is done.

        Raises:
            StoreUnavailableError: The log or the store cannot be read or written.
            StateUnreadableError: A state is damaged beyond what the log can make good.
        """
        if self._stream.behind() >= MANY:
            with self._turn:  # whoever waits here finds it done
                if self._stream.behind() >= MANY and not self._is_ending:
                    self._outside()
        self._stream.catch_up()

    def stop(self) -> None:
        """End what runs; what it has not folded is folded at the next start."""
        self._is_ending = True
        child = self._child
        if child is not None:
            child.terminate()

    def _outside(self) -> None:
        LOG.info("folding %d events in a process of its own", self._stream.behind())
        # By stdin: the address may hold a password, and arguments are everybody's to read.
        told = {"events_dir": str(self._stream.log.root), "address": self._address}
        command = [sys.executable, "-m", "serving.folding"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:  # noqa: S603  our own
            self._child = child
            try:
                child.communicate(json.dumps(told).encode())
            finally:
                self._child = None
        if child.returncode:
            LOG.warning("that process ended with %d; going on in this one", child.returncode)


def main() -> None:
    """Fold what the process that started this one has told by stdin."""
    os.nice(NICE)
    told = json.load(sys.stdin)
    with EventLog(Path(told["events_dir"])) as log, open_store(told["address"]) as store:
        Stream(log, store).catch_up()


if __name__ == "__main__":
    main()
