"""The SQLite file of the event log: its schema, how it is opened, an event as a row.

Times are integer microseconds, lists and properties JSON text, a value that was not given is
NULL. No datetime is ever handed to sqlite3, because its adapters are global to the process.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from features.errors import StoreUnavailableError
from features.events import tombstones
from features.events.durable import exclusive, fsync_directory, make_directory
from features.events.schema import ACTORS, TYPES, Event, EventType
from features.turns import begin

LOG_NAME: Final = "log.sqlite"
LOG_VERSION: Final = 1
BUSY_S: Final = 10.0

COLUMNS: Final = Event._fields
"""The columns beside `offset`, in the order of the fields of `Event`."""

_TYPE_NAMES: Final = {kind: name for name, kind in TYPES.items()}
_ACTOR_NAMES: Final = {actor: name for name, actor in ACTORS.items()}
_INTEGERS: Final = ("occurred_at", "received_at", "schema_version")
_KINDS: Final = {
    "event_id": "TEXT NOT NULL UNIQUE",
    "value": "REAL",
    "utc_offset_min": "INTEGER",
    **dict.fromkeys(_INTEGERS, "INTEGER NOT NULL"),
}
_SCHEMA: Final = (
    '"offset" INTEGER PRIMARY KEY AUTOINCREMENT',
    *(f"{name} {_KINDS.get(name, 'TEXT NOT NULL')}" for name in COLUMNS),
)
_CREATE: Final = (
    f"CREATE TABLE events({', '.join(_SCHEMA)})",
    "CREATE INDEX events_of_recipient ON events(recipient_key, occurred_at)",
    # `parts` is how many Parquet files the range was written to: a lost one must not go unseen.
    "CREATE TABLE compactions(first INTEGER PRIMARY KEY, last INTEGER NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('planned', 'done')), parts INTEGER NOT NULL)",
    f"PRAGMA user_version = {LOG_VERSION}",
)
# Corrections are few and late, so they are found by themselves; logs made before had no index.
_RELABELS: Final = (
    "CREATE INDEX IF NOT EXISTS relabels_of_recipient ON events(recipient_key)"
    f" WHERE type = '{EventType.RELABELLED.value}'"
)
INSERT: Final = f"INSERT INTO events({', '.join(COLUMNS)})"
SELECT: Final = f'SELECT "offset", {", ".join(COLUMNS)} FROM events'
_AROUND: Final = (
    f'SELECT "offset", {", ".join(COLUMNS)} FROM'
    " (SELECT json_extract(value, '$[0]') AS near, json_extract(value, '$[1]') AS first,"
    " json_extract(value, '$[2]') AS last FROM json_each(?))"
    " CROSS JOIN events ON recipient_key = near AND occurred_at BETWEEN first AND last"
    " AND type IN (SELECT value FROM json_each(?))"
)
_CORRECTIONS: Final = (
    f"{SELECT} WHERE type = '{EventType.RELABELLED.value}'"
    " AND recipient_key IN (SELECT value FROM json_each(?))"
)


class Window(NamedTuple):
    """Events of some types of one recipient between two moments in microseconds, both in."""

    recipient_key: str
    first: int
    last: int
    types: tuple[EventType, ...]


def create(root: Path) -> sqlite3.Connection:
    """Open the log below `root` for writing; make it when it is not there yet."""
    with errors_named(root):
        make_directory(root)
        # Two processes that both switch a new file to WAL may refuse each other.
        with exclusive(root / "create.lock"):
            connection = _open(root, mode="rwc")
            try:
                if _version(root, connection) == 0:
                    _create_schema(connection)
                    fsync_directory(root)
                for statement in (_RELABELS, *tombstones.CREATE):
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
    return connection


def connect(root: Path) -> sqlite3.Connection | None:
    """Open an existing log below `root`, or give None when nothing was ever written."""
    if not (root / LOG_NAME).exists():
        return None
    with errors_named(root):
        connection = _open(root, mode="rw")
        try:
            ready = _version(root, connection) > 0
        except BaseException:
            connection.close()
            raise
        if ready:
            return connection
        connection.close()  # another process is creating it at this moment
        return None


@contextmanager
def errors_named(root: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say into `StoreUnavailableError` with a remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = str(error)
        remedy = "check that the directory is writable and the disk sound, then repeat the call"
        if "locked" in text or "busy" in text:
            remedy = "another process holds the log for long; repeat the call"
        elif "full" in text or "No space" in text:
            remedy = "free some disk space, then repeat the call, of which nothing was stored"
        elif "malformed" in text or "not a database" in text:
            remedy = f"restore {root / LOG_NAME} from a backup"
        raise StoreUnavailableError(f"event log {root}", text, remedy) from error


@contextmanager
def transaction(connection: sqlite3.Connection, *, is_writer: bool) -> Iterator[None]:
    """One transaction: all of it is durable at the end, or none of it."""
    if is_writer:
        begin(connection, timeout_s=BUSY_S)
    else:
        connection.execute("BEGIN DEFERRED")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def known_ids(connection: sqlite3.Connection, event_ids: list[str]) -> set[str]:
    """Which of the ids are in the log already."""
    query = "SELECT event_id FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
    return {row[0] for row in connection.execute(query, (orjson.dumps(event_ids).decode(),))}


def around(connection: sqlite3.Connection, windows: Iterable[Window]) -> list[Event]:
    """Every event in one of the windows, and every `relabelled` of their recipients, by offset."""
    spans: dict[tuple[EventType, ...], list[tuple[str, int, int]]] = {}
    for window in windows:
        spans.setdefault(window.types, []).append(window[:3])
    found: dict[int, tuple[Any, ...]] = {}
    for types, parts in spans.items():
        asked = orjson.dumps(parts).decode(), orjson.dumps(types).decode()
        found.update((row[0], row) for row in connection.execute(_AROUND, asked))
    keys = {key for parts in spans.values() for key, _, _ in parts}
    asked_keys = (orjson.dumps(list(keys)).decode(),)
    found.update((row[0], row) for row in connection.execute(_CORRECTIONS, asked_keys))
    return [event_of(found[offset][1:]) for offset in sorted(found)]


def row_of(event: Event) -> tuple[Any, ...]:
    """An event as the values of `COLUMNS`."""
    return (
        event.event_id,
        _TYPE_NAMES[event.type],
        event.recipient_key,
        event.occurred_at,
        event.received_at,
        event.send_id,
        event.message_key,
        event.content_id,
        _json(event.topics),
        event.url,
        None if math.isnan(event.value) else event.value,
        event.currency,
        event.channel,
        event.utc_offset_min,
        event.timezone,
        event.device,
        _ACTOR_NAMES[event.actor],
        _json(event.actor_reasons),
        event.provider,
        event.schema_version,
        orjson.dumps(dict(event.properties)).decode() if event.properties else "{}",
    )


def event_of(row: tuple[Any, ...]) -> Event:
    """The event that `row_of` made these values from; its fields are those of `COLUMNS`."""
    (event_id, kind, recipient_key, occurred_at, received_at, send_id, message_key, content_id,
     topics, url, value, currency, channel, utc_offset_min, timezone, device, actor, reasons,
     provider, schema_version, properties) = row  # fmt: skip
    return Event(
        event_id, TYPES[kind], recipient_key, occurred_at, received_at, send_id, message_key,
        content_id, texts_of(topics), url, math.nan if value is None else value, currency, channel,
        utc_offset_min, timezone, device, ACTORS[actor], texts_of(reasons), provider,
        schema_version, orjson.loads(properties) if properties != "{}" else {},
    )  # fmt: skip


def texts_of(stored: str) -> tuple[str, ...]:
    """The texts of a stored list."""
    return () if stored == "[]" else tuple(orjson.loads(stored))


def _json(texts: tuple[str, ...]) -> str:
    return orjson.dumps(texts).decode() if texts else "[]"


def _open(root: Path, *, mode: str) -> sqlite3.Connection:
    address = f"{(root / LOG_NAME).absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # A bulk import runs a third faster when the indexes fit and pages are copied back less
        # often; both are limits (64 MB of memory, 64 MB of WAL), not what a small log takes.
        connection.execute("PRAGMA cache_size = -64000")
        connection.execute("PRAGMA wal_autocheckpoint = 16000")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(root: Path, connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > LOG_VERSION:
        raise StoreUnavailableError(
            f"event log {root}", f"it has version {version}, this program knows {LOG_VERSION}",
            "update the program, or point OPPORTUNE_DATA_DIR to another directory",
        )  # fmt: skip
    return version


def _create_schema(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection, is_writer=True):
        for statement in _CREATE:
            connection.execute(statement)
