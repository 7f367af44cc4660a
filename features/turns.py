"""Taking turns: one writer at a time, without the long sleeps that SQLite and flock would have.

Nothing here is needed for a correct result; it keeps threads and processes of one machine from
doing the same work twice or sleeping while there is work.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ASK_S: Final = 0.001  # SQLite and flock wake nobody: who wants the lock asks again


def begin(connection: sqlite3.Connection, *, timeout_s: float) -> None:
    """Begin a writer's transaction; asks for the lock every millisecond.

    SQLite itself asks ten times a second after the first waits: two processes that write without
    a pause then leave half of two cores idle, and one that folds a long log, free of the lock for
    half a millisecond in forty, starves the others until they fail.

    Raises:
        sqlite3.OperationalError: Others have held the lock all the time.
    """
    until = time.monotonic() + timeout_s
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(ASK_S)
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(timeout_s * 1_000)}")


class Turns:
    """Turns of the threads and processes that share a lock file.

    Args:
        path: The file; its directory need not be there yet, then only threads take turns.
        patience_s: Whoever has waited that long goes on without a turn, so that a process that
            stands still holds nobody up for ever.
    """

    def __init__(self, path: Path, *, patience_s: float = 1.0) -> None:
        self._path = path
        self._patience_s = patience_s
        self._threads = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn; the kernel gives it back when its holder dies."""
        until = time.monotonic() + self._patience_s
        is_first = self._threads.acquire(timeout=self._patience_s)
        try:
            with _locked(self._path, until):
                yield
        finally:
            if is_first:
                self._threads.release()


@contextmanager
def _locked(path: Path, until: float) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:  # no directory yet, or one that is not ours to write to
        yield
        return
    try:
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(ASK_S)
        yield
    finally:
        os.close(descriptor)
