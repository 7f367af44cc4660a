"""The newest state of every key, packed, from the log in one pass: what fills an online store."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.batch import EventTable, event_table, read_at
from features.block import HEAD, Block, encode
from features.coding import corrected_log
from features.cohorts import tells, word
from features.consent import said
from features.decay import NEVER_AT
from features.definitions.affinity import Affinity
from features.definitions.profile import ATTRIBUTES, CONSENT
from features.events.schema import EventType
from features.kernel import hours_kept
from features.layout import POOL, Layout
from features.packing import unpack
from features.reading import Reading
from features.state import State
from features.tastes import affinity_events, tastes_at

KEYS: Final = 20_000  # states made at a time: dense they take 5 kB each
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Packed:
    """Some keys' states: the moments they are told for (microseconds) and their bytes."""

    keys: list[str]
    at: list[int]
    blobs: list[bytes]


def packed_states(
    events: pl.LazyFrame, *, key: str, layout: Layout, affinity: Affinity
) -> Iterator[Packed]:
    """Every key's state in key order, at most `KEYS` at a time.

    Equals the stream's state after the same events (relative 1e-9).
    """
    table = event_table(events, key=key, layout=layout)
    if len(table.keys) == 0:
        return
    log = corrected_log(events).events
    spine = _newest(log, key, layout).with_row_index("row")
    profile = _profiles(log, key, spine) if layout.is_person else None
    tastes = None
    if affinity.weights:
        added = affinity_events(events, key=key, layout=layout, affinity=affinity)
        tastes = tastes_at(added, spine.select("key", "at", "row"), half_life=affinity.half_life)
    hours = _hours(table, layout)
    for begin in range(0, len(spine), KEYS):
        mine = spine.slice(begin, KEYS)
        end = begin + len(mine)
        reading = read_at(table, mine, layout)
        block = Block(
            head=_head(mine, reading),
            slots=_sparse(reading.values, reading.values != 0.0),
            channels=_times(reading),
            hours=_part(hours, begin, end),
            tastes=_part(_columns(tastes, "row", "entry", "amount"), begin, end),
            profile=_part(_columns(profile, "row", "attribute", "told_at"), begin, end),
            texts=_texts(mine, profile, begin, end),
        )
        yield Packed(mine["key"].to_list(), mine["at"].to_list(), encode(block, layout))


def states(
    events: pl.LazyFrame, *, key: str, layout: Layout, affinity: Affinity
) -> Iterator[tuple[str, State]]:
    """Every key's state, one by one, as `packed_states` packs them."""
    for some in packed_states(events, key=key, layout=layout, affinity=affinity):
        for name, blob in zip(some.keys, some.blobs, strict=True):
            yield name, unpack(blob, layout)


def _head(spine: pl.DataFrame, reading: Reading) -> Array:
    head = np.zeros(len(spine), HEAD)
    head["at"], head["seen"] = spine["at"].to_numpy(), spine["seen"].to_numpy()
    for name in ("newest", "erased_at", "zone_at"):
        head[name] = spine[name].fill_null(NEVER_AT).to_numpy()
    head["zone_offset_min"] = spine["utc_offset_min"].fill_null(0).to_numpy()
    head["doubtful"], head["sure"] = reading.bits[:, 0], reading.bits[:, 1]
    head["doubtful_week"], head["sure_week"] = reading.week[:, 0], reading.week[:, 1]
    return head


def _sparse(dense: Array, used: Array) -> tuple[Array, Array, Array]:
    rows, ids = np.nonzero(used)
    return rows, ids, dense[rows, ids]


def _times(reading: Reading) -> tuple[Array, Array, Array, Array]:
    rows, channels, last = _sparse(reading.last, reading.last != NEVER_AT)
    return rows, channels, last, reading.first[rows, channels]


def _columns(frame: pl.DataFrame | None, *names: str) -> tuple[Array, Array, Array]:
    if frame is None:
        none = np.empty(0, np.int64)
        return none, none, none
    row, number, value = (frame[name].to_numpy() for name in names)
    return row.astype(np.int64), number.astype(np.int64), value


def _part(columns: tuple[Array, Array, Array], begin: int, end: int) -> tuple[Array, Array, Array]:
    """The rows from `begin` to `end`, counted from `begin`; rows come sorted."""
    a, b = np.searchsorted(columns[0], [begin, end])
    return columns[0][a:b] - begin, columns[1][a:b], columns[2][a:b]


def _texts(spine: pl.DataFrame, profile: pl.DataFrame | None, begin: int, end: int) -> list[bytes]:
    texts = [[zone or ""] for zone in spine["timezone"].to_list()]
    if profile is not None:
        some = profile.filter(pl.col("row") >= begin, pl.col("row") < end)
        for row, text in some.select("row", "text").iter_rows():
            texts[row - begin].append(text)
    return ["\x1f".join(words).encode() for words in texts]


def _newest(log: pl.LazyFrame, key: str, layout: Layout) -> pl.DataFrame:
    """Per key: the moment just after everything is known, the newest offset, the newest zone."""
    named = log.filter(pl.col(key) != "").rename({key: "key"})
    if layout.is_pooled:
        named = pl.concat([named, named.with_columns(key=pl.lit(POOL))])
    is_erased = pl.col("type") == EventType.ERASED.value
    newest = named.group_by("key").agg(
        (pl.max_horizontal("occurred_at", "received_at").max() + 1).alias("at"),
        pl.col("offset").max().alias("seen"),
        pl.col("occurred_at").filter(~is_erased).max().alias("newest"),
        pl.col("occurred_at").filter(is_erased).max().alias("erased_at"),
    )
    by = ["occurred_at", "utc_offset_min", "timezone"]
    zones = (
        named.filter(pl.col("utc_offset_min").is_not_null() & layout.is_person)
        .group_by("key")
        .agg(*(pl.col(column).sort_by(by).last() for column in by))
        .rename({"occurred_at": "zone_at"})
    )
    return newest.join(zones, on="key", how="left").sort("key").collect()


def _profiles(log: pl.LazyFrame, key: str, spine: pl.DataFrame) -> pl.DataFrame:
    """Of each attribute the newest word and when it was said: row, attribute, told_at, text."""
    consents = said(log.filter(pl.col(key) != ""))
    parts = [_newest_words(consents.rename({"recipient_key": "key"}), CONSENT)]
    for attribute, name in enumerate(ATTRIBUTES):
        found = (
            log.filter(tells(name))
            .select(
                pl.col(key).alias("key"),
                pl.col("occurred_at").alias("told_at"),
                word(name).alias("text"),
            )
            .filter(pl.col("text") != "", pl.col("key") != "")
        )
        parts.append(_newest_words(found, attribute))
    rows = spine.select("key", pl.col("row").cast(pl.Int64))
    return pl.concat(parts).join(rows, on="key", how="inner").sort("row", "attribute")


def _newest_words(told: pl.LazyFrame, attribute: int) -> pl.DataFrame:
    return (
        told.group_by("key")
        .agg(pl.col("told_at").max(), pl.col("text").sort_by("told_at", "text").last())
        .with_columns(attribute=pl.lit(attribute, pl.Int64))
        .collect()
    )


def _hours(table: EventTable, layout: Layout) -> tuple[Array, Array, Array]:
    """The active hours that the states remember, so that the stream can go on from there."""
    if not layout.tracks_hours:
        return _columns(None)
    rows, hours, kinds = hours_kept(table.columns, layout.hour_kind)
    order = np.lexsort((hours, rows))
    return rows[order], hours[order], kinds[order].astype(np.int64)
