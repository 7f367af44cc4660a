"""The log's states into Feast and its online store; what the stream does, in bulk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from features.bulk_states import packed_states
from features.cohorts import cohort_events
from features.definitions import VIEWS
from features.definitions.cohort import VIEW as COHORT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.suppressed import Suppressed
from features.feast_objects import state_view_name
from features.feast_store import FeastStore
from features.layout import layout_of
from features.online import OnlineStore
from features.stream import AFFINITIES, KEY_FIELDS, PROGRESS, Stream

_EMPTY: Final = pl.DataFrame(schema={"key": pl.String, "at": pl.Int64, "state": pl.Binary})


@dataclass(frozen=True, slots=True)
class Materialized:
    """What went online: states by entity, up to which log offset."""

    states: dict[str, int]
    offset: int
    compacted: int


def materialize(
    *, log: EventLog, feast: FeastStore, store: OnlineStore, step: Callable[[str], None]
) -> Materialized:
    """Compact the log, register the definitions and put every key's newest state online.

    May run while the service takes events: a state that has seen more of the log stays, and
    the stream goes on behind the last offset materialized. Running it again changes nothing.
    """
    step("compacting the event log")
    compacted = log.compact()
    step("registering definitions in Feast")
    feast.apply()
    stream = Stream(log, store)
    stream.start_over_when_redefined()
    head = log.head()
    events = log.scan()
    counts: dict[str, int] = {}
    suppressed = Suppressed(log.root)
    for view in VIEWS:
        key = KEY_FIELDS[view.entity]
        layout = layout_of(view)
        step(f"folding {view.entity} states")
        parts = [_EMPTY]
        told = cohort_events(events) if view is COHORT else events
        for some in packed_states(told, key=key, layout=layout, affinity=AFFINITIES[view.entity]):
            part = pl.DataFrame(
                {"key": some.keys, "at": some.at, "state": some.blobs}, _EMPTY.schema
            )
            store.load(view.entity, part.select("key", blob="state").to_arrow())
            parts.append(part)
        rows = pl.concat(parts).rename({"key": key})
        step(f"putting {len(rows):,} {view.entity} states online")
        feast.write_rows(state_view_name(view.entity), rows)  # what `feast materialize` would load
        if view is RECIPIENT and (gone := _erased_since(rows, suppressed, store)):
            rows = rows.filter(~pl.col("recipient_key").is_in(gone))
            feast.write_rows(state_view_name(view.entity), rows)
        counts[view.entity] = len(rows)
    with store.writing():
        if not stream.is_current():
            raise StoreUnavailableError(
                "the online store", "it was begun anew under other feature definitions meanwhile",
                "run one version of opportune at a time, then `opportune materialize` again",
            )  # fmt: skip
        store.set_progress(PROGRESS, max(head, store.progress(PROGRESS)))
    return Materialized(counts, head, compacted)


def _erased_since(rows: pl.DataFrame, suppressed: Suppressed, store: OnlineStore) -> list[str]:
    """Who was erased while the log was being folded; their states are taken away again.

    Looked at after everything is written: whoever is erased later is removed by that erasure.
    """
    gone = suppressed.among(set(rows["recipient_key"].to_list()))
    for key in gone:
        store.erase(RECIPIENT.entity, key)
    if gone:
        store.scrub()
    return list(gone)
