"""Recipients out of the event log, to the last byte: rows, indexes, journal and Parquet.

SQLite leaves copies of a deleted key in pages that it has split, also with `secure_delete`; only
`VACUUM` writes the file anew without them. Parquet files with rows of an erased recipient are
removed, their ranges planned again, and read from SQLite until the next compaction.

Offsets are not given out again, so a log with gaps is as good as one without. Each step can be
done again: what a crash leaves is finished by the next call, for whomever it is.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from features.errors import StoreUnavailableError
from features.events import database, tombstones
from features.events.database import errors_named, transaction
from features.events.digests import TOMBSTONE, Digests
from features.events.durable import exclusive, fsync_directory
from features.events.schema import DAY_US, SECOND_US

COMPACTING: Final = "compact.lock"
_MINE: Final = "FROM events WHERE recipient_key IN (SELECT value FROM json_each(?))"
_BEFORE: Final = "FROM events WHERE received_at < ?"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is no longer in the log.

    Args:
        n_rows: Events.
        n_parts: Parquet files removed, for neighbours to be written again.
        sends: What the events named as sends, by recipient; nobody without an event is in it.
    """

    n_rows: int
    n_parts: int
    sends: dict[str, list[str]]


def suppress(root: Path, recipient_keys: Sequence[str], *, until: int) -> int:
    """Keep out what recipients did up to a moment (microseconds), from now on.

    Returns:
        When the oldest of their events happened that no proof tells of yet; zero without any.

    Raises:
        StoreUnavailableError: The log cannot be written now.
    """
    digests = Digests(root)
    oldest = "SELECT min(occurred_at) FROM events WHERE recipient_key = ?"
    with (
        errors_named(root),
        closing(database.create(root)) as connection,
        transaction(connection, is_writer=True),
    ):
        named = [digests.of(TOMBSTONE, key) for key in recipient_keys]
        for key, digest in zip(recipient_keys, named, strict=True):
            (first_at,) = connection.execute(oldest, (key,)).fetchone()
            tombstones.lay(connection, digest, until=until, first_at=first_at)
        return tombstones.oldest(connection, named)


def number_of(root: Path, digests: Sequence[str]) -> int:
    """The highest number of the erasures that these tombstones stand for."""
    with errors_named(root), closing(database.create(root)) as connection:
        return tombstones.last_of(connection, digests)


def settle(root: Path, recipient_keys: Sequence[str]) -> None:
    """Note that a proof tells of the erasure of these recipients.

    Raises:
        StoreUnavailableError: The log cannot be written now.
    """
    digests = Digests(root)
    named = [digests.of(TOMBSTONE, key) for key in recipient_keys]
    with (
        errors_named(root),
        closing(database.create(root)) as connection,
        transaction(connection, is_writer=True),
    ):
        tombstones.settle(connection, named)


def n_erasures(root: Path) -> int:
    """A number that grows with every erasure, zero before the first.

    Raises:
        StoreUnavailableError: The log cannot be read now.
    """
    return _asked(root, tombstones.newest)


def n_settled(root: Path) -> int:
    """The number of the newest erasure that whoever reads the log from now on learns nothing of.

    Raises:
        StoreUnavailableError: The log cannot be read now.
    """
    return _asked(root, tombstones.newest_settled)


def _asked(root: Path, number: Callable[[sqlite3.Connection], int]) -> int:
    with errors_named(root):
        connection = database.connect(root)
        if connection is None:
            return 0
        with closing(connection):
            return number(connection)


def forget(root: Path, recipient_keys: Sequence[str]) -> Forgotten:
    """Remove everything about recipients, who were `suppress`ed before.

    Raises:
        StoreUnavailableError: The disk refuses, or somebody has been reading for long; call again.
    """
    told = orjson.dumps(list(recipient_keys)).decode()
    with closing(database.create(root)) as connection:
        query = f"SELECT DISTINCT recipient_key, send_id {_MINE}"
        sends: dict[str, list[str]] = {}
        with errors_named(root):
            for key, send in connection.execute(query, (told,)):
                sends.setdefault(key, []).extend([send] if send else [])
        n_rows, n_parts = _removed(root, connection, _MINE, told)
    return Forgotten(n_rows, n_parts, sends)


def drop_before(root: Path, before: int) -> Forgotten:
    """Remove every event that was received before a moment (microseconds)."""
    if not (root / database.LOG_NAME).exists():
        return Forgotten(0, 0, {})
    with closing(database.create(root)) as connection:
        return Forgotten(*_removed(root, connection, _BEFORE, before), {})


def _removed(
    root: Path, connection: sqlite3.Connection, which: str, told: str | int
) -> tuple[int, int]:
    with errors_named(root), exclusive(root / COMPACTING):  # nobody compacts meanwhile
        with transaction(connection, is_writer=True):
            _doom(connection, which, told)
            n_rows = connection.execute(f"DELETE {which}", (told,)).rowcount
        n_parts = _remove_doomed(root, connection)
        scrub(connection, str(root))  # also where rows are gone: a killed call may have been here
    return n_rows, n_parts


def scrub(connection: sqlite3.Connection, store: str) -> None:
    """Write a SQLite file anew, without a trace of what was deleted, its journal too.

    Raises:
        StoreUnavailableError: Somebody has been reading all the time.
    """
    connection.execute("VACUUM")
    (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        problem = "somebody reads, so that deleted bytes are still in the journal"
        raise StoreUnavailableError(store, problem, "run the same once more")


def _doom(connection: sqlite3.Connection, which: str, told: str | int) -> None:
    """Note the Parquet files that hold such rows, and plan their ranges again."""
    query = (
        f'SELECT DISTINCT c.first, c.last, e.day FROM (SELECT "offset" AS place,'
        f" received_at / {DAY_US} AS day {which}) AS e"
        " JOIN compactions AS c ON e.place BETWEEN c.first AND c.last"
    )
    for first, last, day in connection.execute(query, (told,)).fetchall():
        shown = datetime.fromtimestamp(day * DAY_US / SECOND_US, UTC).date().isoformat()
        path = f"day={shown}/part-{first}-{last}.parquet"
        connection.execute("INSERT OR IGNORE INTO doomed_parts VALUES (?, ?)", (path, first))
        connection.execute("UPDATE compactions SET state = 'planned' WHERE first = ?", (first,))


def _remove_doomed(root: Path, connection: sqlite3.Connection) -> int:
    """Remove the noted files, also those of a call that was killed; how many there were.

    Such a call may have been followed by a compaction, so the ranges are planned once more.
    """
    doomed = connection.execute("SELECT path, first FROM doomed_parts").fetchall()
    ranges = [(first,) for _, first in doomed]
    planned = "UPDATE compactions SET state = 'planned' WHERE first = ?"
    with transaction(connection, is_writer=True):
        connection.executemany(planned, ranges)
    for scratch in (root / "parquet").glob("day=*/.*.tmp"):
        scratch.unlink(missing_ok=True)  # of a compaction that was killed: none runs now
    for path, _ in doomed:
        file = root / "parquet" / path
        file.unlink(missing_ok=True)
        if file.parent.exists():
            fsync_directory(file.parent)
    with transaction(connection, is_writer=True):
        connection.execute("DELETE FROM doomed_parts")
    return len(doomed)
