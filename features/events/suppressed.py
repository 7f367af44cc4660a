"""Who is to be kept out of every file: recipients who were erased and have not come back."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from features.events import tombstones
from features.events.database import connect, errors_named
from features.events.digests import TOMBSTONE, Digests

_ALL = "SELECT digest FROM tombstones WHERE returned_at IS NULL"
_STAMP = "SELECT ifnull(max(number), 0), count(returned_at) FROM tombstones"


class Suppressed:
    """The tombstones of one log, read anew when they have changed; for several threads.

    Raises:
        StoreUnavailableError: The log cannot be read now.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._digests = Digests(root)
        self._known: frozenset[str] = frozenset()
        self._stamp: tuple[int, int] = (0, 0)
        self._lock = threading.Lock()

    def among(self, recipient_keys: set[str]) -> set[str]:
        """Those of the keys that are to be kept out."""
        known = self._current()
        if not known:
            return set()
        return {key for key in recipient_keys if self._digests.of(TOMBSTONE, key) in known}

    def _current(self) -> frozenset[str]:
        with self._lock, errors_named(self._root):
            connection = connect(self._root)
            if connection is None:
                return frozenset()
            with closing(connection):
                if tombstones.newest(connection):
                    self._read(connection)
            return self._known

    def _read(self, connection: sqlite3.Connection) -> None:
        stamp = connection.execute(_STAMP).fetchone()
        if stamp != self._stamp:
            self._known = frozenset(row[0] for row in connection.execute(_ALL))
            self._stamp = stamp
