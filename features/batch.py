"""The log to states at many moments in bulk: Polars reads and sorts, the kernel scans.

An event is known from the later of `occurred_at` and `received_at`, and weighs by when it
occurred. A row at `t` therefore holds exactly what could have been known before `t`, late
arrivals and later labels and all, and equals what the stream would have answered then.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.assemble import Reading
from features.coding import code_column, corrected_log
from features.kernel import counting_order, scan, tables_of
from features.layout import POOL, Layout

Columns = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class EventTable:
    """One entity's events as sorted arrays.

    Args:
        keys: Entity keys; the number of a key is its place here.
        columns: key number, known_at, occurred_at, code, value, UTC offset in minutes; each
            event under its newest label.
        labels: One row per label that was replaced: number (of the key), place (of the event in
            the columns), known_at (when the next one was learnt), before (the code until then).
    """

    keys: pl.Series
    columns: Columns
    labels: pl.DataFrame


def event_table(events: pl.LazyFrame, *, key: str, layout: Layout) -> EventTable:
    """Sort a log by entity and by when each event was known; `key` names the entity's column."""
    log = corrected_log(events)
    coded = (
        log.events.filter(pl.col(key) != "")
        .select(
            pl.col(key).cast(pl.Categorical).alias("key"),
            pl.max_horizontal("occurred_at", "received_at").alias("known_at"),
            "occurred_at",
            code_column().alias("code"),
            pl.col("value").fill_null(float("nan")),
            pl.col("utc_offset_min").fill_null(0).cast(pl.Int16),
            *(["offset"] if len(log.labels) else []),
        )
        .collect()
    )
    keys, number = _numbered(coded["key"])
    table = coded.drop("key").with_columns(number)
    if layout.is_pooled:
        table = table.with_columns(pl.col("number") + 1)
        table = pl.concat([table, table.with_columns(number=pl.lit(0, pl.Int64))])
        keys = pl.concat([pl.Series(keys.name, [POOL], pl.String), keys])
    if not table["known_at"].is_sorted():
        table = table.sort("known_at", maintain_order=True)
    order = counting_order(table["number"].to_numpy(), len(keys))
    labels = pl.DataFrame()
    if len(log.labels):
        table, labels = _newest_labels(table[order], log.labels)
        order = np.arange(len(table))
    names = ("number", "known_at", "occurred_at", "code", "value", "utc_offset_min")
    return EventTable(keys, tuple(table[name].to_numpy()[order] for name in names), labels)


def read_at(
    table: EventTable, spine: pl.DataFrame, layout: Layout, *, with_weeks: bool = True
) -> Reading:
    """States at the spine's moments, in the spine's order.

    Args:
        spine: Columns `key` (text) and `at` (microseconds); unknown keys read as empty.
        with_weeks: Whether to read the hours of the week too; they are most of a state.
    """
    numbers = pl.DataFrame({"key": table.keys, "number": np.arange(len(table.keys))})
    rows = (
        spine.select("key", pl.col("at").cast(pl.Int64))
        .with_row_index("row")
        .join(numbers, on="key", how="left")
        .select(pl.col("number").fill_null(len(table.keys)), "at", pl.col("row").cast(pl.Int64))
        .sort("number", "at")
    )
    width = layout.n_slots if with_weeks else layout.n_counters
    reading = Reading(
        spine["at"].cast(pl.Int64).to_numpy(),
        np.empty((len(rows), width)),
        np.empty((len(rows), len(layout.channels)), np.int64),
        np.empty((len(rows), len(layout.channels)), np.int64),
        np.empty((len(rows), 2), np.uint64),
        np.empty((len(rows), 2), np.int64),
    )
    out = reading.values, reading.last, reading.first, reading.bits, reading.week
    tables = tables_of(layout, with_weeks=with_weeks)
    if len(table.labels):
        rows, early = _split(table, rows)
        columns, numbered = _as_labelled_then(table, early)
        scan(columns, tables, _arrays(numbered), out)
    scan(table.columns, tables, _arrays(rows), out)
    return reading


def _numbered(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The distinct keys in order, and of each row the place of its key among them.

    A few texts are sorted, not millions of rows.
    """
    codes = column.unique()
    keys = codes.cast(pl.String)
    order = keys.arg_sort()
    number_of = codes.to_physical().to_numpy()
    places = np.zeros(number_of.max(initial=0) + 1, np.int64)
    places[number_of[order.to_numpy()]] = np.arange(len(keys))
    number = places[column.to_physical().to_numpy()]
    return keys.gather(order).alias("key"), pl.Series("number", number)


def _arrays(rows: pl.DataFrame) -> Columns:
    return tuple(rows[name].cast(pl.Int64).to_numpy() for name in ("number", "at", "row"))


def _newest_labels(table: pl.DataFrame, labels: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The table under the newest labels, and which labels those took the place of."""
    newest = labels.group_by("target").agg(pl.col("after").last())
    newest = newest.rename({"target": "offset"})
    places = table.select("number", "offset").with_row_index("place")
    replaced = labels.rename({"target": "offset"}).join(places, on="offset", how="inner")
    corrected = table.join(newest, on="offset", how="left", maintain_order="left").with_columns(
        code=pl.coalesce("after", "code")
    )
    names = ("number", "place", "known_at", "before")
    return corrected, replaced.select(names).sort("number", "known_at", maintain_order=True)


def _split(table: EventTable, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the newest labels hold for, and those before some label was learnt."""
    last = table.labels.group_by("number").agg(pl.col("known_at").max().alias("settled"))
    marked = rows.join(last, on="number", how="left", maintain_order="left")
    is_early = pl.col("settled").is_not_null() & (pl.col("at") <= pl.col("settled"))
    return (marked.filter(~is_early).select(rows.columns),
            marked.filter(is_early).select(rows.columns))  # fmt: skip


def _as_labelled_then(table: EventTable, rows: pl.DataFrame) -> tuple[Columns, pl.DataFrame]:
    """Copies of the keys' events under the labels of each moment asked for, numbered anew.

    There are at most as many copies of a key's events as rows ask for the key.
    """
    known: dict[int, pl.DataFrame] = {
        int(group[0]): labels
        for group, labels in table.labels.group_by("number", maintain_order=True)
    }
    parts: list[Columns] = []
    numbered: list[pl.DataFrame] = []
    for group, asked in rows.group_by("number", maintain_order=True):
        labels = known[int(group[0])].reverse()
        since = np.sort(labels["known_at"].to_numpy())
        epoch = np.searchsorted(since, asked["at"].to_numpy(), side="left")
        begin, end = np.searchsorted(table.columns[0], [group[0], group[0] + 1])
        for number in np.unique(epoch):
            moment = asked["at"].to_numpy()[epoch == number].max()
            columns = [column[begin:end].copy() for column in table.columns]
            for _, place, until, before in labels.iter_rows():
                if until >= moment:  # newest first: the oldest still to come has the last word
                    columns[3][place - begin] = before
            columns[0][:] = len(parts)
            numbered.append(asked.filter(pl.Series(epoch == number)).with_columns(
                number=pl.lit(len(parts), pl.Int64)))  # fmt: skip
            parts.append(tuple(columns))
    if not parts:
        return table.columns, rows
    stacked = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return stacked, pl.concat(numbered)
