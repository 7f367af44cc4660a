"""Everybody's features as they were at past moments, from the log.

What was known before a moment never changes: events that arrive later are later. So the rows of a
day are computed once, and need be made anew only when definitions change or somebody is erased.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features import batch
from features.cohorts import cohort_events
from features.definitions.cohort import VIEW as COHORT
from features.layout import POOL, layout_of
from features.spec import FeatureView
from features.stream import KEY_FIELDS

AT_ONCE: Final = 1_000_000  # rows, of as many moments as fit


def rows_at(
    events: pl.LazyFrame, view: FeatureView, moments: Sequence[int]
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Each moment with the rows of every key that was known before it.

    Args:
        events: Of the log.
        moments: Microseconds, rising.

    Yields:
        The moment and its rows: the join key, `at` (the moment) and the view's features.
    """
    key = KEY_FIELDS[view.entity]
    told = cohort_events(events) if view is COHORT else events
    table = batch.event_table(told, key=key, layout=layout_of(view))
    first = _first_known(told, key)
    for some in _at_once(first["known"], moments):
        grid = pl.DataFrame({"at": list(some)}, schema={"at": pl.Int64})
        spine = (
            first.lazy().join(grid.lazy(), how="cross").filter(pl.col("known") < pl.col("at"))
            .select("key", "at").sort("key", "at").collect()
        )  # fmt: skip
        rows = spine.hstack(pl.DataFrame(features_of(table, spine, view), schema=[*view.names]))
        for moment in some:
            yield moment, rows.filter(pl.col("at") == moment).rename({"key": key})


def features_of(
    table: batch.EventTable, spine: pl.DataFrame, view: FeatureView
) -> NDArray[np.float32]:
    """`features_at`, with rates shrunk to those of all keys together where the view has such.

    Args:
        spine: Columns key and at (microseconds).
    """
    layout = layout_of(view)
    pool = None
    if layout.is_pooled:
        together = spine.with_columns(key=pl.lit(POOL))
        pool = batch.read_at(table, together, layout, with_weeks=False)
    return batch.features_at(table, spine, view, pool=pool)


def _first_known(events: pl.LazyFrame, key: str) -> pl.DataFrame:
    """Every key and when the first event of it was known (microseconds)."""
    known = pl.max_horizontal("occurred_at", "received_at").min().alias("known")
    named = events.filter(pl.col(key) != "").group_by(pl.col(key).alias("key"))
    return named.agg(known).collect()


def _at_once(known: pl.Series, moments: Sequence[int]) -> Iterator[list[int]]:
    """The moments in parts of not much more than `AT_ONCE` rows, one moment at least."""
    part: list[int] = []
    n = 0
    for moment in moments:
        more = int((known < moment).sum())
        if part and n + more > AT_ONCE:
            yield part
            part, n = [], 0
        part.append(moment)
        n += more
    if part:
        yield part
