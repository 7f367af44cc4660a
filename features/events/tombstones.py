"""Who was erased, as keyed digests in the log's own file: what keeps late events out.

A tombstone is laid in the transaction that deletes the rows and is read in each transaction that
appends, so nothing slips in between. Webhooks come late, are repeated for days, and files are
imported again: what happened up to the erasure stays out for ever. What happens after it stays
out as well, such as an open of an old mail, until the person comes back by an act of their own:
an event of `RETURNS` that happened after the erasure. From that act on they are somebody new.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import orjson

from features.events.digests import TOMBSTONE, Digests
from features.events.schema import Event, EventType

RETURNS: Final = frozenset({EventType.SIGNED_UP, EventType.RESUBSCRIBED, EventType.CONSENT_GRANTED})
# `number` grows with every erasure, also a second one of the same recipient; `first_at` is when
# their oldest event happened, until a proof tells it. Doomed parts are the Parquet files that may
# still hold rows: removed once the rows are gone, whatever happens between.
CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS tombstones(number INTEGER PRIMARY KEY AUTOINCREMENT,"
    " digest TEXT NOT NULL UNIQUE, until INTEGER NOT NULL, returned_at INTEGER,"
    " first_at INTEGER)",
    "CREATE TABLE IF NOT EXISTS doomed_parts(path TEXT PRIMARY KEY, first INTEGER NOT NULL)",
)
_LAY: Final = "INSERT OR REPLACE INTO tombstones(digest, until, first_at) VALUES (?, max(?, ?), ?)"


def newest(connection: sqlite3.Connection) -> int:
    """The number of the newest erasure, 0 where nobody was erased."""
    try:
        row = connection.execute("SELECT ifnull(max(number), 0) FROM tombstones").fetchone()
    except sqlite3.OperationalError:  # a log of before, that nobody has written to since
        return 0
    return int(row[0])


def newest_settled(connection: sqlite3.Connection) -> int:
    """The number up to which every erasure has its proof, so that no row of them was left."""
    query = (
        "SELECT ifnull(min(CASE WHEN first_at NOT NULL THEN number - 1 END), max(number))"
        " FROM tombstones"
    )
    try:
        return int(connection.execute(query).fetchone()[0] or 0)
    except sqlite3.OperationalError:  # as above
        return 0


def lay(connection: sqlite3.Connection, digest: str, *, until: int, first_at: int | None) -> None:
    """Keep out what one recipient did up to a moment (microseconds), and until they come back."""
    query = "SELECT until, first_at FROM tombstones WHERE digest = ?"
    before, first = connection.execute(query, (digest,)).fetchone() or (until, None)
    known = [at for at in (first, first_at) if at is not None]
    connection.execute(_LAY, (digest, until, before, min(known, default=None)))


def settle(connection: sqlite3.Connection, digests: Sequence[str]) -> None:
    """A proof tells of these erasures now; call it in a writer's transaction."""
    query = "UPDATE tombstones SET first_at = NULL WHERE digest = ?"
    connection.executemany(query, [(digest,) for digest in digests])


def oldest(connection: sqlite3.Connection, digests: Sequence[str]) -> int:
    """When the oldest event of unsettled erasures happened; zero without any."""
    query = "SELECT min(first_at) FROM tombstones WHERE digest IN (SELECT value FROM json_each(?))"
    asked = (orjson.dumps(list(digests)).decode(),)
    return int(connection.execute(query, asked).fetchone()[0] or 0)


def last_of(connection: sqlite3.Connection, digests: Sequence[str]) -> int:
    """The highest number of these erasures."""
    query = "SELECT max(number) FROM tombstones WHERE digest IN (SELECT value FROM json_each(?))"
    asked = (orjson.dumps(list(digests)).decode(),)
    return int(connection.execute(query, asked).fetchone()[0] or 0)


def kept_out(connection: sqlite3.Connection, events: Sequence[Event], digests: Digests) -> set[int]:
    """The places of events that must not be stored; notes who came back.

    Call it in a writer's transaction.
    """
    if not newest(connection):
        return set()
    names = {key: digests.of(TOMBSTONE, key) for key in {e.recipient_key for e in events}}
    query = (
        "SELECT digest, until, returned_at FROM tombstones"
        " WHERE digest IN (SELECT value FROM json_each(?))"
    )
    asked = (orjson.dumps(list(names.values())).decode(),)
    laid = {row[0]: (row[1], row[2]) for row in connection.execute(query, asked)}
    if not laid:
        return set()
    back = _returns(events, names, laid)
    for digest, at in back.items():
        connection.execute("UPDATE tombstones SET returned_at = ? WHERE digest = ?", (at, digest))
    since = {digest: back.get(digest, known) for digest, (_, known) in laid.items()}
    refused = set()
    for place, event in enumerate(events):
        digest = names[event.recipient_key]
        if digest in since:
            returned_at = since[digest]
            if returned_at is None or event.occurred_at < returned_at:
                refused.add(place)
    return refused


def _returns(
    events: Sequence[Event], names: dict[str, str], laid: dict[str, tuple[int, int | None]]
) -> dict[str, int]:
    """When those came back of whom that is new, or sooner than was known."""
    found: dict[str, int] = {}
    for event in events:
        digest = names[event.recipient_key]
        if event.type not in RETURNS or digest not in laid:
            continue
        until, known = laid[digest]
        at = event.occurred_at
        if at > until and at < found.get(digest, at + 1 if known is None else known):
            found[digest] = at
    return found
