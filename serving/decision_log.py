"""What was decided, by whom and with what chance: lines in files, written beside the scoring.

One thread per process appends NDJSON to `decisions/<UTC day>.<process>.ndjson`, five times a
second. Files are never shared: each start of a process has a name of its own. Whoever erases from
one writes it anew under its name; this process then goes on with the new one. A decision that
cannot be written is dropped and counted; no call waits for the disk or fails because of it.

Failure mode: what was decided in the last fifth of a second is gone after `kill -9`, and the last
line may be torn; a power cut takes what the system had not yet written. `features.decisions` reads
what there is.
"""

import fcntl
import logging
import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from features.errors import StoreUnavailableError
from features.events.lines import is_of_name
from features.events.schema import DAY_US, SECOND_US
from serving.flusher import Flusher

LOG: Final = logging.getLogger("opportune.decisions")
ROOM: Final = 20_000  # decisions that wait for the disk; some 30 MB
Record = dict[str, Any]


class Lost(StrEnum):
    """Why a decision is not in the log."""

    QUEUE_FULL = "queue_full"
    NOT_WRITTEN = "not_written"
    ADDRESS = "address"  # its recipient key is one: it is answered, and never written down


class DecisionLog:
    """Takes decisions and writes them in the background, between `start` and `stop`.

    Args:
        folder: Where the files are.
        lost: Told how many were lost and why.
        suppressed: Tells which recipients were erased: nothing is written of them.
        room: How many may wait.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lost: Callable[[Lost, int], None],
        suppressed: Callable[[set[str]], set[str]] = lambda _: set(),
        room: int = ROOM,
    ) -> None:
        self.folder = folder
        self._lost = lost
        self._room = room
        self._waiting: deque[Record] = deque()
        self._files = _Files(folder, suppressed)
        self._flusher = Flusher(self._flush, name="opportune-decisions")
        self._is_troubled = False

    def add(self, record: Record) -> None:
        """Take one decision; `at` is its moment in microseconds. Returns at once, whatever is."""
        if "@" in record.get("recipient_key", ""):
            self._lost(Lost.ADDRESS, 1)
            return
        if len(self._waiting) >= self._room:
            self._lost(Lost.QUEUE_FULL, 1)
            return
        self._waiting.append(record)

    def start(self) -> None:
        """Begin to write."""
        self._flusher.start()

    def stop(self) -> None:
        """Write what waits and end."""
        self._flusher.stop()
        self._files.close()

    def _flush(self) -> None:
        by_day: dict[int, list[Record]] = {}
        for _ in range(len(self._waiting)):
            record = self._waiting.popleft()
            by_day.setdefault(record["at"] // DAY_US, []).append(record)
        for day, records in by_day.items():
            try:
                self._files.append(day, records)
            except (OSError, StoreUnavailableError) as error:
                self._lost(Lost.NOT_WRITTEN, len(records))
                self._tell(f"{self.folder}: {error}; decisions are lost until it can be written")
            else:
                self._tell("")

    def _tell(self, trouble: str) -> None:
        """Say once that it is in trouble, and once that it is not."""
        if trouble and not self._is_troubled:
            LOG.error("%s", trouble)
        elif self._is_troubled and not trouble:
            LOG.warning("%s: decisions are written again", self.folder)
        self._is_troubled = bool(trouble)


class _Files:
    """One file at a time to append to; whole lines or nothing."""

    def __init__(self, folder: Path, suppressed: Callable[[set[str]], set[str]]) -> None:
        self._folder = folder
        self._suppressed = suppressed
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._number = 0  # of the file, where one had to be given up
        self._day = -1
        self._path = folder
        self._file: int | None = None

    def append(self, day: int, records: Sequence[Record]) -> None:
        """Write lines at the end of a day's file.

        Who was erased is asked while the file is held: whoever erases lays the tombstone first and
        goes through the files then, so that no line of theirs is left either way.

        Raises:
            OSError, StoreUnavailableError: They could not be written; nothing is left behind.
        """
        file = self._locked(day)
        try:
            gone = self._suppressed({record.get("recipient_key", "") for record in records})
            kept = [r for r in records if r.get("recipient_key", "") not in gone]
            lines = b"".join(orjson.dumps(record) + b"\n" for record in kept)
            self._write(file, os.fstat(file).st_size, lines)
        finally:
            if self._file == file:
                fcntl.flock(file, fcntl.LOCK_UN)

    def _write(self, file: int, size: int, lines: bytes) -> None:
        written = 0
        try:
            while written < len(lines):  # the second part of what does not fit fails and says why
                written += os.write(file, lines[written:])
        except OSError:
            self._take_back(file, size)
            raise

    def close(self) -> None:
        """Close the file; the next line opens one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _locked(self, day: int) -> int:
        """The file of this name, held so that nobody writes it anew meanwhile."""
        while True:
            file = self._opened(day)
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_of_name(file, self._path):
                return file
            self.close()

    def _opened(self, day: int) -> int:
        if self._file is not None and day == self._day:
            return self._file
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        shown = datetime.fromtimestamp(day * DAY_US / SECOND_US, UTC).date().isoformat()
        part = f".{self._number}" if self._number else ""
        self._path = self._folder / f"{shown}.{self._process}{part}.ndjson"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file, self._day = os.open(self._path, flags, 0o644), day
        return self._file

    def _take_back(self, file: int, size: int) -> None:
        """Without half a line in it the file can be gone on with."""
        try:
            os.ftruncate(file, size)
        except OSError:
            self._number += 1
            self.close()
