"""The log's states into Feast and its online store; what the stream does, in bulk."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from features import batch
from features.definitions import AFFINITY, VIEWS
from features.events.log import EventLog
from features.feast_store import FeastStore
from features.layout import layout_of
from features.packed import PackedStore
from features.stream import KEY_FIELDS, PROGRESS, Stream


@dataclass(frozen=True, slots=True)
class Materialized:
    """What went online: states by entity, up to which log offset."""

    states: dict[str, int]
    offset: int
    compacted: int


def materialize(
    *, log: EventLog, feast: FeastStore, store: PackedStore, step: Callable[[str], None]
) -> Materialized:
    """Compact the log, register the definitions and put every key's newest state online.

    May run while the service takes events: a state that has seen more of the log stays, and
    the stream goes on behind the last offset materialized. Running it again changes nothing.
    """
    step("compacting the event log")
    compacted = log.compact()
    step("registering definitions in Feast")
    feast.apply()
    Stream(log, store).start_over_when_redefined()
    head = log.head()
    events = log.scan()
    counts: dict[str, int] = {}
    for view in VIEWS:
        key = KEY_FIELDS[view.entity]
        layout = layout_of(view)
        step(f"folding {view.entity} states")
        found = [
            (name, state.at, state.pack(layout))
            for name, state in batch.states(events, key=key, layout=layout, affinity=AFFINITY)
        ]
        schema = {key: pl.String, "at": pl.Int64, "state": pl.Binary}
        rows = pl.DataFrame(found, schema=schema, orient="row")
        step(f"materializing {len(rows):,} {view.entity} states")
        newest = max((at for _, at, _ in found), default=0)
        feast.materialize_states(view.entity, rows, as_of=newest)
        counts[view.entity] = len(rows)
    with store.writing():
        store.set_progress(PROGRESS, max(head, store.progress(PROGRESS)))
    return Materialized(counts, head, compacted)
