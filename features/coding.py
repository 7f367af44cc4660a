"""A log's columns to event codes, corrections included: what the bulk readers start from."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.devices import device_class
from features.events.schema import EARLY, TARGET, Actor, EventType
from features.grouping import add_taken, distinct
from features.signals import DEVICE_NUMBER, N_DEVICES, PER_ACTOR, PER_TYPE

TEXTS: Final = ("type", "actor", "actor_reasons", "device")  # what an event's code is made of
_TYPES = pl.Enum([kind.value for kind in EventType])
_ACTORS = pl.Enum([actor.value for actor in Actor])
_LABELS: Final = pl.Schema(
    {
        "target": pl.Int64(),
        "known_at": pl.Int64(),
        "before": pl.UInt16(),
        "after": pl.UInt16(),
        "actor": pl.String(),
        "actor_reasons": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A log with what changes the past taken apart.

    Args:
        events: Without what is erased; each event under its first label.
        labels: One row per label that took the place of another one: target (the event's
            offset), known_at, before and after (event codes), actor and actor_reasons (the new
            ones), sorted by target and known_at.
    """

    events: pl.LazyFrame
    labels: pl.DataFrame


def corrected_log(events: pl.LazyFrame) -> Corrected:
    """Find what is erased and what is labelled anew; most logs are done after one column."""
    correcting = [EventType.RELABELLED.value, EventType.ERASED.value]
    is_told = pl.col("type").is_in(correcting)
    # Of one column Parquet's dictionary answers this: a fifteenth of reading whole rows.
    if events.select("type").filter(is_told).collect(engine="streaming").is_empty():
        return Corrected(events, pl.DataFrame(schema=_LABELS))
    found = events.filter(is_told).collect()
    erased = found.filter(pl.col("type") == EventType.ERASED.value)
    if len(erased):
        until = erased.group_by("recipient_key").agg(pl.col("occurred_at").max().alias("until"))
        is_kept = pl.col("until").is_null() | (pl.col("occurred_at") > pl.col("until"))
        events = (
            events.join(until.lazy(), on="recipient_key", how="left", maintain_order="left")
            .filter(is_kept | (pl.col("type") == EventType.ERASED.value))
            .drop("until")
        )
    return Corrected(events, _labels(events, found.filter(pl.col("type") == correcting[0])))


def as_labelled(events: pl.LazyFrame) -> pl.LazyFrame:
    """The log under its newest labels, without what is erased.

    For looking back; rows of a past moment read the labels of that moment, see `batch`.
    """
    log = corrected_log(events)
    if log.labels.is_empty():
        return log.events
    newest = (
        log.labels.group_by("target")
        .agg(pl.col("actor").last().alias("now"), pl.col("actor_reasons").last().alias("why"))
        .rename({"target": "offset"})
    )
    return (
        log.events.join(newest.lazy(), on="offset", how="left", maintain_order="left")
        .with_columns(
            actor=pl.coalesce("now", "actor"), actor_reasons=pl.coalesce("why", "actor_reasons")
        )
        .drop("now", "why")
    )


def code_column() -> pl.Expr:
    """The number of each event's code, as `signals.code_of` gives it, uint16."""
    columns = pl.struct(TEXTS)
    return columns.map_batches(lambda s: event_codes(s.struct.unnest()), return_dtype=pl.UInt16)


def event_codes(events: pl.DataFrame) -> pl.Series:
    """The same of a frame that has the columns `TEXTS`; each distinct text is looked at once."""
    codes = np.zeros(len(events), np.uint16)
    for name, part in zip(TEXTS, (_kinds, _actors, _early, _devices), strict=True):
        number, texts = few_texts(events[name].fill_null(""))
        add_taken(part(texts).cast(pl.UInt16).to_numpy(writable=True), number, codes)
    return pl.Series("code", codes)


def few_texts(column: pl.Series) -> tuple[NDArray[np.uint32], pl.Series]:
    """A number for each row, and the texts by number; one text may have several numbers.

    Rows are told apart by their Arrow views, 16 bytes that hold a short text or the place of a
    long one. Those of a Parquet dictionary share one place, so that most texts are never read.

    Args:
        column: Texts without null, of any length.
    """
    array = column.to_arrow(compat_level=pl.CompatLevel.newest())
    views = np.frombuffer(array.buffers()[1] or b"", np.uint64).reshape(-1, 2)
    number, first = distinct(views[array.offset : array.offset + len(array)])
    return number, column.gather(first)


def _kinds(texts: pl.Series) -> pl.Series:
    return texts.cast(_TYPES).to_physical().cast(pl.UInt16) * PER_TYPE


def _actors(texts: pl.Series) -> pl.Series:
    return texts.cast(_ACTORS).to_physical().cast(pl.UInt16) * PER_ACTOR


def _early(texts: pl.Series) -> pl.Series:
    return texts.str.contains(f'"{EARLY}"', literal=True).cast(pl.UInt16) * N_DEVICES


def _devices(texts: pl.Series) -> pl.Series:
    given = texts.unique()
    numbers = [DEVICE_NUMBER[device_class(text)] if text else 0 for text in given]
    return texts.replace_strict(given, pl.Series(numbers, dtype=pl.UInt16))


def _labels(events: pl.LazyFrame, relabelled: pl.DataFrame) -> pl.DataFrame:
    if relabelled.is_empty():
        return pl.DataFrame(schema=_LABELS)
    told = relabelled.select(
        pl.col("properties").str.json_path_match(f"$.{TARGET}").alias("event_id"),
        "recipient_key",
        pl.max_horizontal("occurred_at", "received_at").alias("known_at"),
        pl.col("offset").alias("told"),
        pl.col("actor").alias("new_actor"),
        pl.col("actor_reasons").alias("new_reasons"),
    )
    meant = events.filter(
        pl.col("event_id").is_in(told["event_id"].implode()),
        pl.col("type") != EventType.RELABELLED.value,
    )
    rows = (
        meant.with_columns(code_column().alias("first"))
        .select(pl.col("offset").alias("target"), "event_id", "recipient_key", "type", "device",
                "first")
        .collect()
        .join(told, on=["event_id", "recipient_key"], how="inner")
        .rename({"new_actor": "actor", "new_reasons": "actor_reasons"})
        .with_columns(code_column().alias("after"))
        .sort("target", "told")
    )  # fmt: skip
    # A label is known no sooner than those it takes the place of.
    known = pl.col("known_at").cum_max().over("target")
    before = pl.col("after").shift(1).over("target").fill_null(pl.col("first"))
    return rows.with_columns(known, before=before).select(_LABELS.names()).cast(_LABELS)
