"""The log to states at many moments in bulk: Polars reads and sorts, the kernel scans.

An event is known from the later of `occurred_at` and `received_at`, and weighs by when it
occurred. A row at `t` therefore holds exactly what could have been known before `t`, late
arrivals and later labels and all, and equals what the stream would have answered then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.assemble import matrix
from features.coding import TEXTS, corrected_log, event_codes, few_texts
from features.kernel import scan, tables_of
from features.layout import POOL, Layout, layout_of
from features.reading import Reading
from features.records import COLUMNS, fixed, placed
from features.spec import FeatureView

COPIED: Final = 4_000_000  # events under labels of the past, at once
BATCH_ROWS: Final = 500_000  # of the log, whose texts become numbers before more are read
ROWS: Final = 2_000  # read at a time: their states stay in the cache until they are features

Columns = tuple[NDArray[Any], NDArray[np.int64]]
Rows = tuple[NDArray[np.int64], ...]  # number of the key, moment, place in the spine


@dataclass(frozen=True, slots=True)
class EventTable:
    """One entity's events as sorted arrays.

    Args:
        keys: Entity keys, sorted; the number of a key is its place here.
        columns: Of `records.placed`: the events, each under its newest label, and where those of
            each key begin.
        labels: One row per label that was replaced: number (of the key), place (of the event),
            known_at (when the next one was learnt), before (the code until then).
    """

    keys: pl.Series
    columns: Columns
    labels: pl.DataFrame


def event_table(events: pl.LazyFrame, *, key: str, layout: Layout) -> EventTable:
    """Sort a log by entity and by when each event was known; `key` names the entity's column."""
    log = corrected_log(events)
    wanted = log.events.select(
        pl.col(key).alias("key"),
        *TEXTS,
        "occurred_at",
        "received_at",
        pl.col("value").fill_null(float("nan")),
        pl.col("utc_offset_min").fill_null(0).cast(pl.Int16),
        *(["offset"] if len(log.labels) else []),
    )
    parts: list[pl.DataFrame] = []
    texts: list[pl.Series] = []
    for frame in wanted.collect_batches(chunk_size=BATCH_ROWS):
        some = frame.filter(pl.col("key") != "")
        number, found = few_texts(some["key"])
        texts.append(found)
        parts.append(some.drop("key", *TEXTS).with_columns(number=number, code=event_codes(some)))
    keys, parts = _numbered(parts, texts)
    if layout.is_pooled:
        parts = [part.with_columns(pl.col("number") + 1) for part in parts]
        parts += [part.with_columns(number=pl.lit(0, pl.UInt32)) for part in parts]
        keys = pl.concat([pl.Series(keys.name, [POOL], pl.String), keys])
    replaced = pl.DataFrame()
    if len(log.labels):
        table, replaced = _newest_labels(pl.concat(parts), log.labels)
        parts = [table]
    columns = placed([[part[name].to_numpy() for name in COLUMNS] for part in parts], len(keys))
    return EventTable(keys, columns, _in_place(replaced, columns[0]))


def read_at(
    table: EventTable, spine: pl.DataFrame, layout: Layout, *, with_weeks: bool = True
) -> Reading:
    """States at the spine's moments, in the spine's order.

    Args:
        spine: Columns `key` (text) and `at` (microseconds); unknown keys read as empty.
        with_weeks: Whether to read the hours of the week too; they are most of a state.
    """
    at = spine["at"].cast(pl.Int64).to_numpy()
    reading = _unread(at, layout, layout.n_slots if with_weeks else layout.n_counters)
    tables = tables_of(layout, with_weeks=with_weeks)
    for columns, rows in _asked(table, spine):
        scan(columns, tables, rows, _filled(reading))
    return reading


def features_at(
    table: EventTable, spine: pl.DataFrame, view: FeatureView, *, pool: Reading | None = None
) -> NDArray[np.float32]:
    """The features at the spine's moments, in the spine's order: `matrix` of `read_at`.

    States are read some keys at a time, so that they need not stand in memory beside the features,
    of which they are three times the size.

    Args:
        spine: As of `read_at`.
        pool: As of `matrix`.
    """
    layout = layout_of(view)
    tables = tables_of(layout, with_weeks=False)
    out = np.empty((len(spine), len(view.features)), np.float32)
    for columns, (number, at, place) in _asked(table, spine):
        for begin, end in _whole_keys(number):
            mine = slice(begin, end)
            reading = _unread(at[mine], layout, layout.n_counters)
            rows = fixed([number[mine], at[mine], np.arange(end - begin)])
            scan(columns, tables, rows, _filled(reading))
            together = pool if pool is None or len(pool.at) == 1 else pool.part(place[mine])
            out[place[mine]] = matrix(reading, view, together)
    return out


def _unread(at: NDArray[np.int64], layout: Layout, width: int) -> Reading:
    n, n_channels = len(at), len(layout.channels)
    return Reading(
        at,
        np.empty((n, width)),
        np.empty((n, n_channels), np.int64),
        np.empty((n, n_channels), np.int64),
        np.empty((n, 2), np.uint64),
        np.empty((n, 2), np.int64),
    )


def _filled(reading: Reading) -> tuple[NDArray[Any], ...]:
    """The arrays of a reading that the kernel fills."""
    return reading.values, reading.last, reading.first, reading.bits, reading.week


def _whole_keys(number: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Sorted rows in runs of about `ROWS`, cut where a key ends, because the scan begins anew."""
    ends = np.append(np.flatnonzero(np.diff(number)) + 1, len(number))
    begin = 0
    while begin < len(number):
        end = int(ends[np.searchsorted(ends, min(begin + ROWS, len(number)))])
        yield begin, end
        begin = end


def _asked(table: EventTable, spine: pl.DataFrame) -> Iterator[tuple[Columns, Rows]]:
    """What to scan for a spine: events, and the rows asked of them."""
    n_keys = len(table.keys)
    numbers = pl.DataFrame({"key": table.keys, "number": np.arange(n_keys, dtype=np.uint32)})
    rows = (
        spine.select("key", pl.col("at").cast(pl.Int64))
        .with_row_index("row")
        .join(numbers, on="key", how="left")
        .select(pl.col("number").fill_null(n_keys), "at", pl.col("row").cast(pl.Int64))
        .sort("number", "at")
    )
    if len(table.labels):
        rows, early = _split(table, rows)
        yield from _as_labelled_then(table, early)
    yield table.columns, _arrays(rows)


def _numbered(
    parts: list[pl.DataFrame], texts: list[pl.Series]
) -> tuple[pl.Series, list[pl.DataFrame]]:
    """The distinct keys in order, and each part with the places of its keys among them."""
    every = pl.concat([pl.Series("key", [], pl.String), *texts])
    keys = every.unique().sort().alias("key")
    places, begin = every.cast(pl.Enum(keys)).to_physical().cast(pl.UInt32), 0
    numbered = []
    for part, some in zip(parts, texts, strict=True):
        mine = places.slice(begin, len(some))
        numbered.append(part.with_columns(number=mine.gather(part["number"])))
        begin += len(some)
    return keys, numbered


def _arrays(rows: pl.DataFrame) -> Rows:
    return fixed([rows[name].cast(pl.Int64).to_numpy() for name in ("number", "at", "row")])


def _newest_labels(table: pl.DataFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The table under the newest labels, and which labels those took the place of."""
    newest = labels.group_by("target").agg(pl.col("after").last())
    newest = newest.rename({"target": "offset"})
    rows = table.select("number", "offset").with_row_index("row")
    replaced = labels.rename({"target": "offset"}).join(rows, on="offset", how="inner")
    corrected = table.join(newest, on="offset", how="left", maintain_order="left").with_columns(
        code=pl.coalesce("after", "code")
    )
    names = ("number", "row", "known_at", "before")
    return corrected, replaced.select(names).sort("number", "known_at", maintain_order=True)


def _in_place(labels: pl.DataFrame, events: NDArray[Any]) -> pl.DataFrame:
    """The labels by the place of their event instead of its row in the log."""
    if labels.is_empty():
        return labels
    place = np.empty(len(events), np.int64)
    place[events["row"]] = np.arange(len(events))
    return labels.with_columns(place=place[labels["row"].to_numpy()]).drop("row")


def _split(table: EventTable, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the newest labels hold for, and those before some label was learnt."""
    last = table.labels.group_by("number").agg(pl.col("known_at").max().alias("settled"))
    marked = rows.join(last, on="number", how="left", maintain_order="left")
    is_early = pl.col("settled").is_not_null() & (pl.col("at") <= pl.col("settled"))
    return (marked.filter(~is_early).select(rows.columns),
            marked.filter(is_early).select(rows.columns))  # fmt: skip


def _as_labelled_then(table: EventTable, rows: pl.DataFrame) -> Iterator[tuple[Columns, Rows]]:
    """Copies of the keys' events under the labels of each moment asked for, numbered anew.

    There are as many copies of a key's events as its labels and rows make moments, and never more
    in memory than `COPIED` events and one key's.
    """
    known: dict[int, pl.DataFrame] = {
        int(group[0]): labels
        for group, labels in table.labels.group_by("number", maintain_order=True)
    }
    events, start = table.columns
    copies: list[NDArray[Any]] = []
    asked_of: list[pl.DataFrame] = []
    for group, asked in rows.group_by("number", maintain_order=True):
        labels = known[int(group[0])].reverse()  # newest first
        until, before = labels["known_at"].to_numpy(), labels["before"].to_numpy()
        begin, end = start[group[0]], start[group[0] + 1]
        place = labels["place"].to_numpy() - begin
        epoch = np.searchsorted(np.sort(until), asked["at"].to_numpy(), side="left")
        for number in np.unique(epoch):
            moment = asked["at"].to_numpy()[epoch == number].max()
            then = events[begin:end].copy()
            later = until >= moment  # of several the oldest comes last, and has the last word
            then["code"][place[later]] = before[later]
            mine = asked.filter(pl.Series(epoch == number))
            asked_of.append(mine.with_columns(number=pl.lit(len(copies), pl.UInt32)))
            copies.append(then)
            if sum(map(len, copies)) >= COPIED:
                yield _together(copies), _arrays(pl.concat(asked_of))
                copies, asked_of = [], []
    if copies:
        yield _together(copies), _arrays(pl.concat(asked_of))


def _together(copies: list[NDArray[Any]]) -> Columns:
    return np.concatenate(copies), np.cumsum([0, *map(len, copies), 0])
