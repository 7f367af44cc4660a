"""What a Spark task does with its rows: Arrow batches in, feature rows or states out.

No Spark in here. A task gets batches in which the rows of a key stand together, in the order
(key, known_at, offset), cut anywhere; the same functions as on one machine read whole keys.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch import event_table, features_at, read_at
from features.bulk_states import states
from features.decay import NEVER_AT
from features.definitions import AFFINITY
from features.layout import POOL, layout_of
from features.packing import pack
from features.reading import Reading
from features.spec import FeatureView

ASKED: Final = "asked"  # whether a row is of the spine; the others are events
POOLED: Final = ("pooled_values", "pooled_last")
Batches = Iterable[pa.RecordBatch]


def whole_groups(batches: Batches, column: str) -> Iterator[pl.DataFrame]:
    """Batches cut anew, so that all rows of one value of `column` come in one frame.

    The last value of each batch is held back until it is known to have ended: memory is one
    batch and the longest run of one value.

    Raises:
        ValueError: A row has no value.
    """
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        values = batch.column(column)
        if values.null_count:
            problem = f"{column} is null in {values.null_count} rows"
            raise ValueError(f"{problem}; leave such rows out of events and spine")
        begin = pc.index(values, values[-1]).as_py()
        ended = not held or begin > 0 or held[-1].column(column)[-1] != values[-1]
        if ended and (held or begin):
            yield _frame([*held, batch.slice(0, begin)])
            held = []
        held.append(batch.slice(begin))
    if held:
        yield _frame(held)


def feature_rows(batches: Batches, view: FeatureView, key: str) -> Iterator[pa.RecordBatch]:
    """Key, moment and the view's features, float32, of every row asked for.

    Raises:
        ValueError: The spine has a row without a moment, or asks a pooled view for the pool.
    """
    layout = layout_of(view)
    for frame in whole_groups(batches, key):
        asked, events = _taken_apart(frame, key)
        if asked.is_empty():
            continue
        if asked["at"].has_nulls() or (layout.is_pooled and (asked["key"] == POOL).any()):
            found = asked.filter(pl.col("at").is_null() | (pl.col("key") == POOL)).row(0)
            raise ValueError(f"spine row {found[:2]}: give a key and a moment in microseconds")
        table = event_table(events.lazy(), key=key, layout=layout)
        pool = _pool(asked) if layout.is_pooled else None
        columns = np.ascontiguousarray(features_at(table, asked, view, pool=pool).T)
        named = dict(zip(view.names, map(pa.array, columns), strict=True))
        keys = asked["key"].to_arrow().cast(pa.string())
        yield pa.RecordBatch.from_pydict({"key": keys, "at": asked["at"].to_arrow(), **named})


def pool_parts(
    batches: Batches, view: FeatureView, key: str, moments: NDArray[np.int64]
) -> Iterator[pa.RecordBatch]:
    """What this task's keys add to the reading of all keys together, one row per moment."""
    layout = layout_of(view)
    values = np.zeros((len(moments), layout.n_counters))
    last = np.full((len(moments), len(layout.channels)), NEVER_AT, np.int64)
    spine = pl.DataFrame({"key": POOL, "at": moments})
    for frame in whole_groups(batches, key):
        table = event_table(frame.lazy(), key=key, layout=layout)
        reading = read_at(table, spine, layout, with_weeks=False)
        values += reading.values
        np.maximum(last, reading.last, out=last)
    yield _pool_rows(moments, values, last)


def pool_sums(batches: Batches) -> Iterator[pa.RecordBatch]:
    """The parts of each moment added up in the order they come in, one row per moment."""
    for frame in whole_groups(batches, "at"):
        at, begin = np.unique(frame["at"].to_numpy(), return_index=True)
        values, last = (_stacked(frame[name]) for name in POOLED)
        yield _pool_rows(
            at, np.add.reduceat(values, begin, axis=0), np.maximum.reduceat(last, begin, axis=0)
        )


def state_rows(batches: Batches, view: FeatureView, key: str) -> Iterator[pa.RecordBatch]:
    """The newest packed state of every key, as `PackedStore.put` takes it."""
    layout = layout_of(view)
    for frame in whole_groups(batches, key):
        found = list(states(frame.lazy(), key=key, layout=layout, affinity=AFFINITY))
        yield pa.RecordBatch.from_pydict({
            "key": pa.array([name for name, _ in found], pa.string()),
            "seen": pa.array([state.seen for _, state in found], pa.int64()),
            "at": pa.array([state.at for _, state in found], pa.int64()),
            "state": pa.array([pack(state, layout) for _, state in found], pa.binary()),
        })  # fmt: skip


def _frame(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    return pl.DataFrame(pa.Table.from_batches(batches))


def _taken_apart(frame: pl.DataFrame, key: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    more = [name for name in POOLED if name in frame.columns]
    asked = frame.filter(pl.col(ASKED)).select(pl.col(key).alias("key"), "at", *more)
    return asked, frame.filter(~pl.col(ASKED)).drop(ASKED, "at", *more)


def _pool(asked: pl.DataFrame) -> Reading:
    """The pool as far as a pooled rate reads it: sums, and last times for doubt."""
    values, last = (_stacked(asked[name]) for name in POOLED)
    none = np.zeros((len(asked), 2), np.uint64), np.zeros((len(asked), 2), np.int64)
    return Reading(asked["at"].to_numpy(), values, last, np.full_like(last, -NEVER_AT), *none)


def _pool_rows(at: NDArray[Any], values: NDArray[Any], last: NDArray[Any]) -> pa.RecordBatch:
    lists = [
        pa.ListArray.from_arrays(
            np.arange(len(at) + 1, dtype=np.int32) * part.shape[1], pa.array(part.ravel())
        )
        for part in (values, last)
    ]
    return pa.RecordBatch.from_arrays([pa.array(at), *lists], names=["at", *POOLED])


def _stacked(lists: pl.Series) -> NDArray[Any]:
    return lists.explode().to_numpy().reshape(len(lists), -1)
