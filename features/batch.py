"""The log to states and feature rows in bulk: Polars reads and sorts, the kernel scans.

An event is known from the later of `occurred_at` and `received_at`, and weighs by when it
occurred. A row at `t` therefore holds exactly what could have been known before `t`, late
arrivals and all, and equals what the stream would have answered at that moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.assemble import Reading
from features.decay import NEVER_AT
from features.definitions.affinity import Affinity
from features.events.schema import HOUR_US
from features.kernel import counting_order, scan, scan_one, tables_of
from features.layout import ACTOR_CODE, HOUR_MEMORY, N_ACTORS, TYPE_CODE, Layout
from features.spec import key_hash
from features.state import TOTAL_KEY, State

_HOURS = 2**24  # more hours than there are until the year 3880


@dataclass(frozen=True, slots=True)
class EventTable:
    """One entity's events as sorted arrays.

    Args:
        keys: Entity keys; the number of a key is its place here.
        columns: key number, known_at, occurred_at, code, value, first-known local hour or -1.
    """

    keys: pl.Series
    columns: tuple[NDArray[Any], ...]


def event_table(events: pl.LazyFrame, *, key: str, layout: Layout) -> EventTable:
    """Sort a log by entity and by when each event was known; `key` names the entity's column."""
    coded = (
        events.filter(pl.col(key) != "")
        .select(
            pl.col(key).cast(pl.Categorical).alias("key"),
            "offset",
            "occurred_at",
            pl.max_horizontal("occurred_at", "received_at").alias("known_at"),
            _code().alias("code"),
            pl.col("value").fill_null(float("nan")),
            ((pl.col("occurred_at") + _offset_us()) // HOUR_US).alias("hour"),
        )
        .collect()
    )
    # Keys get numbers in their order: a few texts are sorted, not millions of rows.
    keys = coded["key"].unique().cast(pl.String).sort()
    numbers = pl.DataFrame({"key": keys, "number": np.arange(len(keys), dtype=np.int64)})
    numbers = numbers.with_columns(pl.col("key").cast(pl.Categorical))
    table = coded.join(numbers, on="key", how="left", maintain_order="left")
    table = table.sort("known_at", maintain_order=True)
    table = table[counting_order(table["number"].to_numpy(), len(keys))]
    # The first known event of an hour opens it; all others look like hours of their own.
    hour = pl.col("number") * _HOURS + pl.col("hour")
    is_active = pl.col("code").is_in(_active_codes(layout))
    opens = pl.when(is_active).then(hour).otherwise(-pl.col("offset")).is_first_distinct()
    table = table.with_columns(pl.when(is_active & opens).then("hour").otherwise(-1).alias("hour"))
    names = ("number", "known_at", "occurred_at", "code", "value", "hour")
    columns = tuple(table[name].to_numpy() for name in names)
    return EventTable(keys, columns)


def read_at(table: EventTable, spine: pl.DataFrame, layout: Layout) -> Reading:
    """States at the spine's moments, in the spine's order.

    Args:
        spine: Columns `key` (text) and `at` (microseconds); unknown keys read as empty.
    """
    numbers = pl.DataFrame({"key": table.keys, "number": np.arange(len(table.keys))})
    rows = (
        spine.select("key", "at")
        .with_row_index("row")
        .join(numbers, on="key", how="left")
        .with_columns(pl.col("number").fill_null(len(table.keys)))
        .sort("number", "at")
    )
    asked = tuple(rows[name].cast(pl.Int64).to_numpy() for name in ("number", "at", "row"))
    values = np.empty((len(rows), layout.n_slots))
    last = np.empty((len(rows), len(layout.channels)), np.int64)
    first = np.empty_like(last)
    scan(table.columns, tables_of(layout), asked, (values, last, first))
    return Reading(spine["at"].cast(pl.Int64).to_numpy(), values, last, first)


def affinity_events(events: pl.LazyFrame, *, layout: Layout, affinity: Affinity) -> pl.DataFrame:
    """What each event adds to which topic or item of its recipient, one row per addition.

    Columns: recipient_key, entry (the 32-bit key), known_at, occurred_at, amount.
    """
    human = {kind.value: weight for kind, weight in affinity.weights.items()}
    rows = (
        events.filter(
            pl.col("type").is_in(list(human)),
            _code().is_in(_active_codes(layout)),
            (pl.col("topics").list.len() > 0) | (pl.col("content_id") != ""),
        )
        .select(
            "recipient_key",
            "topics",
            "content_id",
            "occurred_at",
            pl.max_horizontal("occurred_at", "received_at").alias("known_at"),
            pl.col("type").replace_strict(human, return_dtype=pl.Float64).alias("amount"),
        )
        .collect()
    )
    plain = rows.drop("topics", "content_id")
    parts = [plain.with_columns(entry=pl.lit(TOTAL_KEY, pl.Int64))]
    for kind, column in (("topic", "topics"), ("content", "content_id")):
        long = rows.select("recipient_key", pl.col(column).alias("text"), *plain.columns[1:])
        if column == "topics":
            long = long.explode("text", empty_as_null=True, keep_nulls=True)
            long = long.filter(pl.col("text").is_not_null())  # was an empty list
        else:
            long = long.filter(pl.col("text") != "")
        hashes = {text: key_hash(kind, text) for text in long["text"].unique()}
        entry = pl.col("text").replace_strict(hashes, return_dtype=pl.Int64, default=0)
        parts.append(long.with_columns(entry=entry).select(parts[0].columns))
    return pl.concat(parts).select("recipient_key", "entry", "known_at", "occurred_at", "amount")


def affinity_at(
    added: pl.DataFrame, spine: pl.DataFrame, *, half_life: float
) -> NDArray[np.float64]:
    """The interest of a recipient in an entry at a moment, shape (n_rows,), in spine order.

    Args:
        added: Of `affinity_events`.
        spine: Columns recipient_key, entry, at.
    """
    wanted = spine.select("recipient_key", "entry").unique().with_row_index("number")
    by = ["recipient_key", "entry"]
    events = added.join(wanted, on=by, how="inner").sort("number", "known_at")
    rows = spine.with_row_index("row").join(wanted, on=by, how="left").sort("number", "at")
    columns = (
        events["number"].cast(pl.Int64).to_numpy(),
        events["known_at"].to_numpy(),
        events["occurred_at"].to_numpy(),
        events["amount"].to_numpy(),
    )
    asked = rows["number"].cast(pl.Int64).to_numpy(), rows["at"].to_numpy()
    out = np.zeros(len(rows))
    scan_one(columns, asked, half_life, 120 * 86_400_000_000, out)
    result = np.empty(len(rows))
    result[rows["row"].to_numpy()] = out
    return result


def states(
    events: pl.LazyFrame, *, key: str, layout: Layout, affinity: Affinity
) -> Iterator[tuple[str, State]]:
    """The newest state of every key of an entity, ready to be packed.

    Equals the stream's state after the same events (relative 1e-9).
    """
    table = event_table(events, key=key, layout=layout)
    if len(table.keys) == 0:
        return
    spine = _newest(events, key)
    reading = read_at(table, spine, layout)
    tastes: dict[str, tuple[list[int], list[float]]] = {}
    if key == "recipient_key":
        added = affinity_events(events, layout=layout, affinity=affinity)
        tastes = _tastes(added, spine, affinity.half_life)
    hours = _recent_hours(table)
    for row, (name, at, seen, newest, zone_at, offset_min, zone) in enumerate(spine.iter_rows()):
        used = np.flatnonzero(reading.values[row])
        known = np.flatnonzero(reading.last[row] != NEVER_AT)
        entries, amounts = tastes.get(name, ([], []))
        yield (
            name,
            State(
                at=at,
                seen=seen,
                newest=newest,
                slots=dict(zip(used.tolist(), reading.values[row, used].tolist(), strict=True)),
                last=dict(zip(known.tolist(), reading.last[row, known].tolist(), strict=True)),
                first=dict(zip(known.tolist(), reading.first[row, known].tolist(), strict=True)),
                hours=set(hours.get(name, ())),
                affinity=dict(zip(entries, amounts, strict=True)),
                zone_at=NEVER_AT if zone_at is None else zone_at,
                zone_offset_min=offset_min or 0,
                zone=zone or "",
            ),
        )


def _code() -> pl.Expr:
    """The number of an event's type and actor, as `layout.code_of` gives it."""
    kinds = pl.col("type").cast(pl.Enum([kind.value for kind in TYPE_CODE])).to_physical()
    actors = pl.col("actor").cast(pl.Enum([actor.value for actor in ACTOR_CODE])).to_physical()
    return (kinds.cast(pl.UInt8) * N_ACTORS + actors.cast(pl.UInt8)).cast(pl.UInt8)


def _active_codes(layout: Layout) -> list[int]:
    """The numbers of the events that make their hour an active hour."""
    return np.flatnonzero(layout.is_active).tolist()


def _offset_us() -> pl.Expr:
    return pl.col("utc_offset_min").fill_null(0).cast(pl.Int64) * 60_000_000


def _newest(events: pl.LazyFrame, key: str) -> pl.DataFrame:
    """Per key: the moment just after everything is known, the newest offset, the newest zone."""
    named = events.filter(pl.col(key) != "").rename({key: "key"})
    newest = named.group_by("key").agg(
        (pl.max_horizontal("occurred_at", "received_at").max() + 1).alias("at"),
        pl.col("offset").max().alias("seen"),
        pl.col("occurred_at").max().alias("newest"),
    )
    by = ["occurred_at", "utc_offset_min", "timezone"]
    zones = (
        named.filter(pl.col("utc_offset_min").is_not_null())
        .group_by("key")
        .agg(*(pl.col(column).sort_by(by).last() for column in by))
    )
    return newest.join(zones, on="key", how="left").sort("key").collect()


def _tastes(
    added: pl.DataFrame, spine: pl.DataFrame, half_life: float
) -> dict[str, tuple[list[int], list[float]]]:
    moments = spine.select(pl.col("key").alias("recipient_key"), pl.col("at").alias("until"))
    age_s = (pl.col("until") - pl.col("occurred_at")) / 1e6
    # Sorted and summed in order: a parallel sum would differ in its last digit from run to run.
    faded = (
        added.join(moments, on="recipient_key", how="inner")
        .with_columns(pl.col("amount") * (-age_s / half_life * np.log(2.0)).exp())
        .sort("recipient_key", "entry", "occurred_at", "amount")
    )
    if faded.is_empty():
        return {}
    changed = pl.struct("recipient_key", "entry").rle_id().diff().fill_null(1) != 0
    starts = np.flatnonzero(faded.select(changed).to_series().to_numpy())
    first = faded[starts]
    amounts = np.add.reduceat(faded["amount"].to_numpy(), starts)
    tastes: dict[str, tuple[list[int], list[float]]] = {}
    for key, entry, amount in zip(
        first["recipient_key"].to_list(), first["entry"].to_list(), amounts.tolist(), strict=True
    ):
        entries, sums = tastes.setdefault(key, ([], []))
        entries.append(entry)
        sums.append(amount)
    return tastes


def _recent_hours(table: EventTable) -> dict[str, list[int]]:
    """The active hours that a state remembers, so that the stream can go on from there."""
    frame = pl.DataFrame({"number": table.columns[0], "hour": table.columns[5]})
    recent = (
        frame.lazy()
        .filter(pl.col("hour") >= 0)
        .filter(pl.col("hour") > pl.col("hour").max().over("number") - HOUR_MEMORY)
        .group_by("number")
        .agg("hour")
        .collect()
    )
    names = table.keys.to_list()
    return {names[number]: hours for number, hours in recent.iter_rows()}
