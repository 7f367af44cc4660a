"""The packed online store: one blob per entity key in SQLite, and how far the log is in it.

Serving reads states here without Feast; Feast's plugin writes and reads the same rows. A row
is never replaced by one that has seen less of the log, so a bulk load and the stream may run
at the same time, in any number of processes. WAL mode: readers never wait for the writer.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from features.errors import StoreUnavailableError

FORMAT: Final = 1
_MAX_KEYS: Final = 500  # per SELECT, below SQLite's limit on bound values
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS states (
  entity TEXT NOT NULL, key TEXT NOT NULL, seen INTEGER NOT NULL, at INTEGER NOT NULL,
  blob BLOB NOT NULL, PRIMARY KEY (entity, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (name TEXT PRIMARY KEY, offset INTEGER NOT NULL);
"""
_PUT: Final = """
INSERT INTO states (entity, key, seen, at, blob) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (entity, key) DO UPDATE SET seen = excluded.seen, at = excluded.at,
  blob = excluded.blob WHERE excluded.seen >= states.seen
"""

Row = tuple[str, int, int, bytes]  # key, offset seen, state's own time (microseconds), blob


class PackedStore:
    """States by (entity, key).

    Raises:
        StoreUnavailableError: The file cannot be opened, read or written now, or was written
            by a newer version.
    """

    def __init__(self, path: Path, *, busy_timeout_ms: int = 10_000) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def get(self, entity: str, keys: Sequence[str]) -> list[bytes | None]:
        """The blobs of the keys in their order; None where there is none."""
        found: dict[str, bytes] = {}
        with self._errors():
            for start in range(0, len(keys), _MAX_KEYS):
                part = keys[start : start + _MAX_KEYS]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, blob FROM states WHERE entity = ? AND key IN ({marks})"
                found.update(self._connection().execute(query, (entity, *part)))
        return [found.get(key) for key in keys]

    def get_with_times(self, entity: str, keys: Sequence[str]) -> list[tuple[int, bytes] | None]:
        """The states' own times (microseconds) and blobs; None where there is none."""
        query = "SELECT at, blob FROM states WHERE entity = ? AND key = ?"
        with self._errors():
            connection = self._connection()
            return [connection.execute(query, (entity, key)).fetchone() for key in keys]

    def put(self, entity: str, rows: Iterable[Row]) -> None:
        """Write rows; one that has seen less of the log than the stored row is left out."""
        if not getattr(self._local, "in_writing", False):
            with self.writing():
                self.put(entity, rows)
            return
        with self._errors():
            self._connection().executemany(_PUT, ((entity, *row) for row in rows))

    def progress(self, name: str) -> int:
        """The last log offset that is in the store."""
        with self._errors():
            query = "SELECT offset FROM progress WHERE name = ?"
            row = self._connection().execute(query, (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_progress(self, name: str, offset: int) -> None:
        """Move the last log offset forward; call inside `writing`."""
        query = "INSERT INTO progress VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET offset = ?"
        with self._errors():
            self._connection().execute(query, (name, offset, offset))

    def count(self, entity: str) -> int:
        """How many keys an entity has."""
        with self._errors():
            query = "SELECT count(*) FROM states WHERE entity = ?"
            return int(self._connection().execute(query, (entity,)).fetchone()[0])

    def keys(self, entity: str, *, limit: int) -> list[str]:
        """Some keys of an entity, in key order."""
        with self._errors():
            query = "SELECT key FROM states WHERE entity = ? ORDER BY key LIMIT ?"
            return [row[0] for row in self._connection().execute(query, (entity, limit))]

    def clear(self) -> None:
        """Forget every state and how far the log was read; the log rebuilds them."""
        if not getattr(self._local, "in_writing", False):
            with self.writing():
                self.clear()
            return
        with self._errors():
            self._connection().execute("DELETE FROM states")
            self._connection().execute("DELETE FROM progress")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer's transaction: all of it is stored or nothing, and writers take turns."""
        connection = self._connection()
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
            self._local.in_writing = True
            try:
                yield
            except BaseException:
                connection.rollback()
                raise
            else:
                connection.commit()
            finally:
                self._local.in_writing = False

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connection(self) -> sqlite3.Connection:
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            opened = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            opened.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")  # the log rebuilds what a crash loses
            version = opened.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                opened.close()
                remedy = "upgrade opportune, or delete the file and run `opportune materialize`"
                raise StoreUnavailableError(str(self._path), f"format {version} is newer", remedy)
            if version < FORMAT:  # both take the write lock: a reader of a made file must not
                opened.executescript(_SCHEMA)
                opened.execute(f"PRAGMA user_version = {FORMAT}")
        with self._lock:
            self._connections.append(opened)
        self._local.connection = opened
        return opened

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            remedy = "check that the disk has room and the file is readable and writable"
            raise StoreUnavailableError(str(self._path), str(error), remedy) from error
