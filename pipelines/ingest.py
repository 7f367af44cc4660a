"""A file of events into the event log, batch by batch, each durable before the next begins."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from features.errors import EventRejectedError, StoreUnavailableError
from features.events.cells import Row
from features.events.importer import Numbered, RowFile, open_rows
from features.events.intake import Intake
from features.events.log import EventLog
from features.events.mapped import RowMapper, Skipped
from features.events.mapping import Mapping, default_mapping
from features.events.schema import FIELDS, Event, parse_event
from features.events.unreadable import Unreadable
from pipelines.errors import ImportUnfinishedError
from pipelines.rejects import Reject, writing
from pipelines.summary import IngestSummary

BATCH_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far an import has come: `done` of `total` bytes or rows, `stored` events durable."""

    done: int
    total: int
    stored: int


def ingest(  # noqa: PLR0913 - a step is a function of all it depends on
    file: Path,
    *,
    log: EventLog,
    mapping: Mapping | None,
    rejects: Path,
    received_at: int,
    progress: Callable[[IngestProgress], None],
    key_secret: str | None = None,
    witness: Callable[[Sequence[Event]], None] = lambda _: None,
) -> IngestSummary:
    """Import a file; running it again, after a crash or not, adds only what is not there yet.

    Args:
        mapping: How rows become events; None when the columns are called as our fields.
        rejects: Gets every row that is not accepted; a whole new file takes the place of the
            one of an earlier run when the import ends.
        received_at: The moment of the import in microseconds; no event may lie after it.
        progress: Called after each batch, when its events are durable.
        witness: As `Intake` takes it.

    Raises:
        FileUnusableError: The file cannot be read, or not to its end; the batches before the
            break are stored.
        MappingInvalidError: The mapping names a column the file lacks; nothing is stored.
        ImportUnfinishedError: The event log or the disk refuses; the batches before are stored.
    """
    started = time.perf_counter()
    summary = IngestSummary(file, rejects)
    intake = Intake(log, witness=witness)
    with open_rows(file, csv=mapping.csv if mapping else None) as source:
        fields = FIELDS if mapping is None else None
        known = set(source.columns)
        mapping = _checked(mapping, file, source)
        mapper = RowMapper(mapping, key_secret=key_secret)
        keys = frozenset(mapping.recipient_key.columns())
        private = keys if mapping.hash_recipient_key else frozenset[str]()
        with _told_how_far(summary), writing(rejects, keys=keys, private=private) as rejected:
            for rows in _batches(source.rows):
                events = []
                if fields is not None and (late := _names_of(rows) - known):
                    known |= late
                    wider = default_mapping(str(file), sorted(known & fields))
                    mapper = RowMapper(wider, key_secret=key_secret)
                for number, row in rows:
                    outcome = _outcome(number, row, mapper, fields, received_at=received_at)
                    if isinstance(outcome, Event):
                        events.append(outcome)
                    elif isinstance(outcome, Skipped):
                        summary.skipped[outcome.condition] += 1
                    else:
                        summary.count_rejected(outcome)
                        rejected.write(outcome)
                summary.read += len(rows)
                summary.count_stored(events, intake.take(events))
                progress(IngestProgress(*source.position(), summary.accepted + summary.duplicate))
    summary.seconds = time.perf_counter() - started
    return summary


@contextmanager
def _told_how_far(summary: IngestSummary) -> Iterator[None]:
    """Where the log or the disk refuses, say how much is in the log for good."""
    try:
        yield
    except (OSError, StoreUnavailableError) as error:
        n_stored = summary.accepted + summary.duplicate
        raise ImportUnfinishedError(summary.file, str(error), n_stored=n_stored) from error


def _checked(mapping: Mapping | None, file: Path, source: RowFile) -> Mapping:
    if mapping is None:
        return default_mapping(str(file), source.columns)
    mapping.check_columns(str(file), source.columns)
    return mapping


def _batches(rows: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _names_of(rows: list[Numbered]) -> set[str]:
    """Of the columns of these rows: a line of NDJSON may have one that no line before it had."""
    return {name for _, row in rows if not isinstance(row, Unreadable) for name in row}


def _outcome(
    number: int,
    row: Row | Unreadable,
    mapper: RowMapper,
    fields: frozenset[str] | None,
    *,
    received_at: int,
) -> Event | Skipped | Reject:
    """What becomes of one row; without a mapping nothing but our fields may be in it."""
    if isinstance(row, Unreadable):
        return Reject(number, row.reason.value, "", row.message, row.original)
    try:
        if fields is not None and not row.keys() <= fields:
            return parse_event(row, received_at=received_at)  # which refuses it
        raw = mapper.raw_of(row, number)
        return raw if isinstance(raw, Skipped) else parse_event(raw, received_at=received_at)
    except EventRejectedError as error:
        return Reject(number, error.reason.value, error.field, str(error), row)
