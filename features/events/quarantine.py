"""What a webhook told that is no event of ours yet: kept durably, so that nothing is lost.

A payload is kept with its reason, addresses replaced by their keyed hashes. The same item of
the same provider is kept once, however often it is sent again.
"""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from features.errors import StoreUnavailableError
from features.events.durable import make_directory
from features.events.esp.adapter import holds_address
from features.events.lines import spelt_out, word_of

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS kept (
  digest TEXT PRIMARY KEY, provider TEXT NOT NULL, received_at INTEGER NOT NULL,
  reason TEXT NOT NULL, item TEXT NOT NULL)"""


HASHED: Final = re.compile(r"\(address ([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Kept:
    """One item that was put aside; `item` is JSON text, `received_at` microseconds."""

    provider: str
    received_at: int
    reason: str
    item: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Items below one directory, in a file of their own."""

    root: Path

    def add(self, items: Iterable[Kept]) -> int:
        """Keep items durably; returns how many were new.

        Raises:
            StoreUnavailableError: The disk refuses; nothing of the call is kept.
        """
        rows = [(_digest(i), i.provider, i.received_at, i.reason, i.item) for i in items]
        if not rows:
            return 0
        with self._errors(), closing(self._open()) as connection, connection:
            before = connection.total_changes
            connection.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?, ?)", rows)
            return connection.total_changes - before

    def read(self, *, limit: int = 1_000) -> list[Kept]:
        """The newest items first."""
        if not self._file.exists():
            return []
        query = "SELECT provider, received_at, reason, item FROM kept ORDER BY received_at DESC"
        with closing(self._open()) as connection:
            return [Kept(*row) for row in connection.execute(f"{query} LIMIT ?", (limit,))]

    def erase(self, recipient_keys: Iterable[str]) -> int:
        """Remove the items that name one of the recipients; how many there were.

        Raises:
            StoreUnavailableError: The disk refuses.
        """
        if not self._file.exists():
            return 0
        names = word_of(recipient_keys)
        with self._errors(), closing(self._open()) as connection:
            found = connection.execute("SELECT digest, item FROM kept").fetchall()
            gone = [(digest,) for digest, item in found if names.search(spelt_out(item))]
            return self._delete(connection, "digest = ?", gone)

    def drop_before(self, before: int) -> int:
        """Remove what was received before a moment (microseconds); how many items."""
        if not self._file.exists():
            return 0
        with self._errors(), closing(self._open()) as connection:
            return self._delete(connection, "received_at < ?", [(before,)])

    def _delete(
        self, connection: sqlite3.Connection, which: str, told: list[tuple[Any, ...]]
    ) -> int:
        before = connection.total_changes
        with connection:
            connection.executemany(f"DELETE FROM kept WHERE {which}", told)
        n_gone = connection.total_changes - before
        if n_gone:
            connection.execute("VACUUM")  # the only way to leave no byte of them
        return n_gone

    @property
    def _file(self) -> Path:
        return self.root / "quarantine.sqlite"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            remedy = "check that the disk has room and the directory is writable"
            raise StoreUnavailableError(f"quarantine {self.root}", str(error), remedy) from error

    def _open(self) -> sqlite3.Connection:
        make_directory(self.root)
        # No WAL: two processes that both switch a new file to it may refuse each other.
        connection = sqlite3.connect(self._file, timeout=10.0)
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(_SCHEMA)
        return connection


def without_addresses(item: Any, hashed: Callable[[str], str]) -> str:
    """An item as JSON text in which every text with an address is its keyed hash."""
    return orjson.dumps(_masked(item, hashed), option=orjson.OPT_SORT_KEYS).decode()


def _masked(value: Any, hashed: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {_masked(str(k), hashed): _masked(v, hashed) for k, v in value.items()}
    if isinstance(value, list):
        return [_masked(item, hashed) for item in value]
    if isinstance(value, str) and holds_address(value):
        return f"(address {hashed(value)})"  # as `HASHED` finds it
    return value


def _digest(kept: Kept) -> str:
    return hashlib.sha256(f"{kept.provider}\x1f{kept.item}".encode()).hexdigest()
