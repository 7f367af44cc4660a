"""The SQLite file behind the packed store: made and opened."""

import sqlite3
from pathlib import Path
from typing import Final

from features.errors import StoreUnavailableError
from features.events.durable import exclusive

FORMAT: Final = 2
# Not WITHOUT ROWID: states of over 1,000 bytes would spill into pages of their own there, which
# made the file 2.3 times as large and a read half as fast.
_SCHEMA: Final = (
    "DROP TABLE IF EXISTS states",  # of an older format: the log rebuilds it
    "DROP TABLE IF EXISTS progress",
    """CREATE TABLE states (
      entity TEXT NOT NULL, key TEXT NOT NULL, seen INTEGER NOT NULL, at INTEGER NOT NULL,
      blob BLOB NOT NULL, PRIMARY KEY (entity, key))""",
    "CREATE TABLE progress (name TEXT PRIMARY KEY, offset INTEGER NOT NULL)",
    f"PRAGMA user_version = {FORMAT}",
)


def open_file(path: Path, *, busy_timeout_ms: int) -> sqlite3.Connection:
    """A connection in autocommit to the file, which is made where there is none.

    Tables of an older format are dropped: the log rebuilds them.

    Raises:
        StoreUnavailableError: A newer version has written the file.
        sqlite3.Error, OSError: It cannot be opened, read or written now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    opened.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")
    if opened.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        # Of two that make the file at once, neither would wait for the other's switch.
        with exclusive(path.with_name(f"{path.name}.lock")):
            opened.execute("PRAGMA journal_mode = WAL")
    opened.execute("PRAGMA synchronous = NORMAL")  # the log rebuilds what a crash loses
    # Pages are copied back every 64 MB: a batch touches half as many pages as it has recipients,
    # and the same ones soon again.
    opened.execute("PRAGMA wal_autocheckpoint = 16000")
    version = _version(opened)
    if version > FORMAT:
        opened.close()
        remedy = "upgrade opportune, or delete the file and run `opportune materialize`"
        raise StoreUnavailableError(str(path), f"format {version} is newer", remedy)
    if version < FORMAT:  # takes the write lock: a reader of a made file must not
        _make_tables(opened)
    return opened


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _make_tables(connection: sqlite3.Connection) -> None:
    """Whoever gets the lock second finds them made."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if _version(connection) < FORMAT:
            for statement in _SCHEMA:
                connection.execute(statement)
