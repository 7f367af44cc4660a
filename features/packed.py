"""The packed online store: one blob per entity key in SQLite, and how far the log is in it.

Serving reads states here without Feast; Feast's plugin writes and reads the same rows. A row
is never replaced by one that has seen less of the log, so a bulk load and the stream may run
at the same time, in any number of processes. WAL mode: readers never wait for the writer.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from features.errors import StoreUnavailableError
from features.packed_file import FORMAT, open_file
from features.packed_rows import LIVES_S, Row, chunks_of, head_of, oldest_alive
from features.sqlite_rows import insert_rows
from features.turns import begin

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_KEYS: Final = 500  # per SELECT, below SQLite's limit on bound values
_LOAD_ROWS: Final = 20_000  # per transaction of a bulk load: the stream gets its turn in between
_LOOK_EVERY_S: Final = 1.0
_SCRUB_WAITS_MS: Final = 10_000
_PUT: Final = "INSERT INTO states (entity, key, seen, at, blob)"
_OR_RENEW: Final = """
ON CONFLICT (entity, key) DO UPDATE SET seen = excluded.seen, at = excluded.at,
  blob = excluded.blob WHERE excluded.seen >= states.seen
"""
_SET_PROGRESS: Final = """
INSERT INTO progress (name, offset) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET offset = max(offset, excluded.offset)
"""

__all__ = ["FORMAT", "PackedStore", "Row"]


class PackedStore:
    """States by (entity, key).

    Failure mode: the last commits before a power cut may be gone, rows and progress together;
    the log brings them back.

    Raises:
        StoreUnavailableError: The file cannot be opened, read or written now, or was written
            by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int = 10_000,
        lives_s: Mapping[str, float] = LIVES_S,
    ) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._lives_s = lives_s
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def get(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[bytes | None]:
        """The blobs of the keys in their order; None where there is none.

        With `now` (microseconds) a state whose newest event is older than the entity's time to
        live is missing too.
        """
        found = dict(self._rows("key, blob", entity, keys, now))
        return list(map(found.get, keys))

    def get_with_times(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[tuple[int, bytes] | None]:
        """Times of the newest events (microseconds) and blobs, as `get` gives them."""
        rows = self._rows("key, at, blob", entity, keys, now)
        found = {key: (at, blob) for key, at, blob in rows}
        return list(map(found.get, keys))

    def put(self, entity: str, rows: Iterable[Row]) -> None:
        """Write rows; one that has seen less of the log than the stored row is left out."""
        if not self._is_writing:
            with self.writing():
                self.put(entity, rows)
            return
        with self._errors():
            told = [(entity, *row) for row in rows]
            insert_rows(self._connection(), _PUT, told, then=_OR_RENEW)

    def load(self, entity: str, rows: "pa.Table | Iterable[pa.RecordBatch]") -> int:
        """Write many rows, guarded like `put`; readers and other writers go on meanwhile.

        Args:
            rows: Columns `key` (string) and `blob` (binary) without nulls; fastest in key order.

        Returns:
            How many rows are stored now; the others had seen less of the log.

        Raises:
            ValueError: A column is missing or has nulls.
        """
        stored = 0
        for keys, blobs in chunks_of(rows, _LOAD_ROWS):
            with self.writing():
                before = self._connection().total_changes
                heads = (head_of(blob) for blob in blobs)
                self.put(entity, ((k, *h, b) for k, h, b in zip(keys, heads, blobs, strict=True)))
                stored += self._connection().total_changes - before
        return stored

    def erase(self, entity: str, key: str) -> bool:
        """Forget one key; returns whether it was there."""
        if not self._is_writing:
            with self.writing():
                return self.erase(entity, key)
        query = "DELETE FROM states WHERE entity = ? AND key = ?"
        with self._errors():
            return self._connection().execute(query, (entity, key)).rowcount > 0

    def scrub(self) -> None:
        """Write the file anew, so that no byte of what was erased is left in it.

        Takes a second for 100 MB; readers go on, writers wait.
        """
        with self._errors():
            connection = self._connection()
            connection.execute(f"PRAGMA busy_timeout = {_SCRUB_WAITS_MS}")
            try:
                connection.execute("VACUUM")
                (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {self._busy_timeout_ms}")
        if is_busy:
            problem = "somebody reads, so that erased bytes are still in its journal"
            raise StoreUnavailableError(str(self._path), problem, "erase the same once more")

    def drop_expired(self, *, now: int) -> int:
        """Remove rows older than their entity's time to live; how many. Looks at every row."""
        dropped = 0
        query = "DELETE FROM states WHERE entity = ? AND at < ?"
        with self.writing():
            for entity in self._lives_s:
                oldest = oldest_alive(entity, now, self._lives_s)
                dropped += self._connection().execute(query, (entity, oldest)).rowcount
        return dropped

    def progress(self, name: str) -> int:
        """The last log offset that is in the store."""
        with self._errors():
            query = "SELECT offset FROM progress WHERE name = ?"
            row = self._connection().execute(query, (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_progress(self, name: str, offset: int) -> None:
        """Move the last log offset forward, never back; call inside `writing`, after the puts."""
        with self._errors():
            self._connection().execute(_SET_PROGRESS, (name, offset))

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
        if not self._is_writing:
            with self.writing():
                self.clear()
            return
        with self._errors():
            self._connection().execute("DELETE FROM states")
            self._connection().execute("DELETE FROM progress")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer's transaction: all of it is stored or nothing, and writers take turns.

        Two processes that catch up at once therefore work one after the other: the second
        reads the progress that the first has left, and the states with it.
        """
        connection = self._connection()
        with self._errors():
            begin(connection, timeout_s=self._busy_timeout_ms / 1_000)
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

    @property
    def _is_writing(self) -> bool:
        return getattr(self._local, "in_writing", False)

    def _rows(self, columns: str, entity: str, keys: Sequence[str], now: int | None) -> list[Any]:
        """The rows of the keys that are there, in whatever order."""
        found: list[Any] = []
        oldest = oldest_alive(entity, now, self._lives_s)
        with self._errors():
            for start in range(0, len(keys), _MAX_KEYS):
                part = keys[start : start + _MAX_KEYS]
                marks = ",".join("?" * len(part))
                query = (
                    f"SELECT {columns} FROM states "
                    f"WHERE entity = ? AND key IN ({marks}) AND at >= ?"
                )
                found += self._connection().execute(query, (entity, *part, oldest)).fetchall()
        return found

    def _connection(self) -> sqlite3.Connection:
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None and not self._is_replaced():
            return known
        with self._errors():
            opened = open_file(self._path, busy_timeout_ms=self._busy_timeout_ms)
            self._local.inode = self._path.stat().st_ino
        with self._lock:
            if known is not None:
                self._connections.remove(known)
                known.close()
            self._connections.append(opened)
        self._local.connection = opened
        self._local.looks_at = time.monotonic() + _LOOK_EVERY_S
        return opened

    def _is_replaced(self) -> bool:
        """Whether the file is no longer the one that this thread has open; seldom asked.

        SQLite would read and write a deleted file for as long as it is open.
        """
        if self._is_writing or time.monotonic() < self._local.looks_at:
            return False
        self._local.looks_at = time.monotonic() + _LOOK_EVERY_S
        try:
            return bool(self._path.stat().st_ino != self._local.inode)
        except FileNotFoundError:
            return True
        except OSError:
            return False

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            remedy = "check that the disk has room and the file is readable and writable"
            raise StoreUnavailableError(str(self._path), str(error), remedy) from error
