"""The event log: append-only, durable on return, each `event_id` at most once.

SQLite is the truth and the index of what was already seen. Parquet parts, one folder per day
of receipt, are a copy for bulk reading that `compact` can always make again.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from features.errors import StoreUnavailableError
from features.events import database, tombstones
from features.events.database import (
    INSERT,
    SELECT,
    Window,
    errors_named,
    event_of,
    row_of,
    transaction,
)
from features.events.digests import Digests
from features.events.schema import Event
from features.sqlite_rows import insert_rows

if TYPE_CHECKING:
    import polars as pl

Decide = Callable[[list[Event], list[Event]], Sequence[Event]]
KEPT_OUT: Final = 0  # in place of an offset: the recipient was erased, nothing is stored
TAIL: Final = 5_000  # events kept in memory: what several callers append before it is folded


class EventLog:
    """The events below one directory, for any number of threads and processes.

    Laws: an offset, once given, is for ever the same event; offsets count 1, 2, 3 ... in the
    order of commits; a reader never sees a part of a batch; `read` and `scan` hold the same events.
    The directory is made by the first `append`; before it, everything reads as empty.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._digests = Digests(root)
        self._n_erasures = 0  # known when `_tail` was begun
        self._tail: list[tuple[int, Event]] = []  # the last events, where all came through here

    def append(self, events: Sequence[Event]) -> list[int | None]:
        """Store a batch in one transaction; when this returns, no crash can undo it.

        Returns:
            Per event its offset, or None for a duplicate: its `event_id` is in the log
            already or stands earlier in the batch. `KEPT_OUT` for one of an erased recipient.

        Raises:
            StoreUnavailableError: Disk full, not writable, or locked for over ten seconds;
                nothing of the batch is stored.
        """
        return self.append_knowing(events, (), lambda fresh, _: fresh)

    def append_knowing(
        self, events: Sequence[Event], windows: Sequence[Window], decide: Decide
    ) -> list[int | None]:
        """Store what `decide` makes of a batch, read and written in one transaction.

        Args:
            decide: Gets the events of the batch that are new, and what `around` gives for the
                windows; returns those new ones, changed at will but for their ids, and more.

        Returns:
            Per event of the batch its offset, None or `KEPT_OUT`, as `append` does.

        Raises:
            StoreUnavailableError: As `append`; nothing of the batch is stored.
        """
        made = {id(event): row_of(event) for event in events}  # before anybody has to wait
        if not made and not windows:
            return []
        with self._writing, errors_named(self.root):
            self._check_open()
            if self._writer is None:
                self._writer = database.create(self.root)
            connection = self._writer
            with transaction(connection, is_writer=True):
                seen = database.known_ids(connection, [event.event_id for event in events])
                outside = tombstones.kept_out(connection, events, self._digests)
                n_erasures = tombstones.newest(connection)
                fresh: dict[str, Event] = {}
                for place, event in enumerate(events):
                    if event.event_id not in seen and place not in outside:
                        fresh.setdefault(event.event_id, event)
                known = database.around(connection, windows) if windows else []
                decided = decide(list(fresh.values()), known)
                rows = [made.get(id(event)) or row_of(event) for event in decided]
                insert_rows(connection, INSERT, rows)
                last = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
                # One transaction's offsets are consecutive: AUTOINCREMENT, and nobody in between.
                numbers = range(last + 1 - len(rows), last + 1)
                offsets = {row[0]: number for row, number in zip(rows, numbers, strict=True)}
            if n_erasures != self._n_erasures:
                self._tail, self._n_erasures = [], n_erasures
            self._remember(list(zip(offsets.values(), decided, strict=True)))
        return [
            KEPT_OUT if place in outside else offsets.pop(event.event_id, None)
            for place, event in enumerate(events)
        ]

    def around(self, windows: Sequence[Window]) -> list[Event]:
        """What is known near some moments of some recipients, in order of offset.

        Every event in one of the windows, once, and every `relabelled` of their recipients,
        whenever it came. One indexed query per set of types, whatever the number of windows.
        """
        with self._reading() as connection:
            return database.around(connection, windows) if connection and windows else []

    def read(self, *, after: int = 0, limit: int = 10_000) -> list[tuple[int, Event]]:
        """Events with an offset above `after`, in order of offset, at most `limit`."""
        query = f'{SELECT} WHERE "offset" > ? ORDER BY "offset" LIMIT ?'
        with self._reading() as connection:
            found = self._at_hand(connection, after, limit)
            asked = after + len(found), limit - len(found)
            rows = connection.execute(query, asked).fetchall() if connection else []
        return [*found, *((row[0], event_of(row[1:])) for row in rows)]

    def head(self) -> int:
        """The offset of the last event, 0 in an empty log."""
        with self._reading() as connection:
            if connection is None:
                return 0
            return int(
                connection.execute('SELECT ifnull(max("offset"), 0) FROM events').fetchone()[0]
            )

    def of_recipient(self, recipient_key: str, *, limit: int = 200) -> list[Event]:
        """What happened to one recipient, newest first, at most `limit` events."""
        query = f'{SELECT} WHERE recipient_key = ? ORDER BY occurred_at DESC, "offset" DESC LIMIT ?'
        with self._reading() as connection:
            rows = (
                connection.execute(query, (recipient_key, limit)).fetchall() if connection else []
            )
        return [event_of(row[1:]) for row in rows]

    def history(self, field: str, key: str, *, until: int) -> list[tuple[int, Event]]:
        """Everything about one key up to an offset, in order of offset.

        Args:
            field: `recipient_key`, which is fast, or `content_id`, which reads the whole log.
        """
        if field not in {"recipient_key", "content_id"}:
            raise ValueError(f"the log is kept by recipient_key and content_id, not by {field}")
        query = f'{SELECT} WHERE {field} = ? AND "offset" <= ? ORDER BY "offset"'
        with self._reading() as connection:
            rows = connection.execute(query, (key, until)).fetchall() if connection else []
        return [(row[0], event_of(row[1:])) for row in rows]

    def compact(self) -> int:
        """Copy what is not yet in Parquet there; gives the number of rows copied now.

        Waits while another compaction of this directory runs. A crash at any point only
        means that the range is copied again, to the same files.
        """
        from features.events import compact  # noqa: PLC0415 - the serving image has no polars

        self._check_open()
        return compact.compact(self.root)

    def scan(self, *, as_of: int | None = None) -> "pl.LazyFrame":
        """All events as columns, in no particular order; see `compact.SCHEMA` for the types.

        With `as_of` (microseconds) only what had both happened and been learnt before that
        moment. The rows are fixed by the call: what is appended later is not among them.
        Rows not yet compacted are held in memory, so compact a large log first.
        """
        from features.events import compact  # noqa: PLC0415 - the serving image has no polars

        self._check_open()
        return compact.scan(self.root, as_of=as_of)

    def close(self) -> None:
        """Give the connections back; a closed log stays closed."""
        with self._writing:
            self._closed = True
            self._tail = []
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _at_hand(
        self, connection: sqlite3.Connection | None, after: int, limit: int
    ) -> list[tuple[int, Event]]:
        """What was just appended here need not be read back, unless somebody was erased since."""
        tail = self._tail
        if connection is None or not (tail and tail[0][0] <= after + 1 <= tail[-1][0]):
            return []
        if tombstones.newest(connection) != self._n_erasures:
            self._tail = []
            return []
        begin = after + 1 - tail[0][0]
        return tail[begin : begin + limit]

    def _remember(self, added: list[tuple[int, Event]]) -> None:
        """Keep the last events at hand; when others have appended in between, only the new ones."""
        if added:
            follows = self._tail and self._tail[-1][0] + 1 == added[0][0]
            self._tail = (self._tail + added if follows else added)[-TAIL:]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection of one's own while it is used; in WAL mode readers never wait."""
        self._check_open()
        try:
            connection = self._idle.pop()
        except IndexError:
            opened = database.connect(self.root)
            if opened is None:
                yield None
                return
            connection = opened
        try:
            with errors_named(self.root):
                yield connection
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError(
                f"event log {self.root}", "it was closed", "open a new EventLog for it"
            )
