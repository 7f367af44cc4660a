"""Affinity in bulk: what each event adds to which topic and item, and the sums at any moment."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.coding import code_column, corrected_log
from features.definitions.affinity import Affinity
from features.kernel import scan_one
from features.layout import Layout
from features.spec import key_hash
from features.state import TOTAL_KEY

RENEW_US = 120 * 86_400_000_000


def affinity_events(
    events: pl.LazyFrame, *, layout: Layout, affinity: Affinity, key: str = "recipient_key"
) -> pl.DataFrame:
    """What each event adds to which topic or item of its key, one row per addition.

    Columns: key, entry (the 32-bit key), known_at, occurred_at, amount. A label found out later
    takes back or adds from the moment it is known.

    Args:
        key: The column of `events` that names whose interest it is; rows without one are left out.
    """
    log = corrected_log(events)
    weights = {kind.value: weight for kind, weight in affinity.weights.items()}
    rows = (
        log.events.filter(
            pl.col("type").is_in(list(weights)),
            pl.col(key) != "",
            (pl.col("topics").list.len() > 0) | (pl.col("content_id") != ""),
        )
        .select(
            "offset",
            pl.col(key).alias("key"),
            "topics",
            "content_id",
            "occurred_at",
            pl.max_horizontal("occurred_at", "received_at").alias("known_at"),
            pl.col("type").replace_strict(weights, return_dtype=pl.Float64).alias("amount"),
            code_column().alias("code"),
        )
        .collect()
    )
    active = np.flatnonzero(layout.hour_kind)
    added = rows.filter(pl.col("code").is_in(active)).drop("code", "offset")
    if len(log.labels):
        added = pl.concat([added, _taken_back(rows, log.labels, active).select(added.columns)])
    return _by_entry(added)


def affinity_at(
    added: pl.DataFrame, spine: pl.DataFrame, *, half_life: float
) -> NDArray[np.float64]:
    """The interest of a key in an entry at a moment, shape (n_rows,), in spine order.

    Args:
        added: Of `affinity_events`.
        spine: Columns key, entry, at.
    """
    wanted = spine.select("key", "entry").unique().with_row_index("number")
    by = ["key", "entry"]
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
    scan_one(columns, asked, half_life, RENEW_US, out)
    result = np.empty(len(rows))
    result[rows["row"].to_numpy()] = out
    return result


def tastes_at(added: pl.DataFrame, spine: pl.DataFrame, *, half_life: float) -> pl.DataFrame:
    """All interests of each key at its moment: row, entry and amount, sorted by row and entry.

    Args:
        added: Of `affinity_events`.
        spine: Columns `key`, `row` and `at` (microseconds), after everything is known.
    """
    moments = spine.rename({"at": "until"})
    age_s = (pl.col("until") - pl.col("occurred_at")) / 1e6
    # Sorted and summed in order: a parallel sum would differ in its last digit from run to run.
    faded = (
        added.join(moments, on="key", how="inner")
        .with_columns(pl.col("amount") * (-age_s / half_life * np.log(2.0)).exp())
        .sort("row", "entry", "occurred_at", "amount")
    )
    if faded.is_empty():
        return faded.select("row", "entry", "amount")
    changed = pl.struct("row", "entry").rle_id().diff().fill_null(1) != 0
    starts = np.flatnonzero(faded.select(changed).to_series().to_numpy())
    amounts = np.add.reduceat(faded["amount"].to_numpy(), starts)
    return faded[starts].select("row", "entry").with_columns(pl.Series("amount", amounts))


def _taken_back(
    rows: pl.DataFrame, labels: pl.DataFrame, active: NDArray[np.int64]
) -> pl.DataFrame:
    """Minus what counted no longer counts, plus what counts only now, from when it is known."""
    was = pl.col("before").is_in(active).cast(pl.Float64)
    now = pl.col("after").is_in(active).cast(pl.Float64)
    learnt = labels.rename({"target": "offset", "known_at": "learnt"})
    return (
        rows.join(learnt, on="offset", how="inner")
        .with_columns(
            amount=pl.col("amount") * (now - was),
            known_at=pl.max_horizontal("known_at", "learnt"),
        )
        .filter(pl.col("amount") != 0.0)
    )


def _by_entry(rows: pl.DataFrame) -> pl.DataFrame:
    plain = rows.drop("topics", "content_id")
    parts = [plain.with_columns(entry=pl.lit(TOTAL_KEY, pl.Int64))]
    for kind, column in (("topic", "topics"), ("content", "content_id")):
        long = rows.select("key", pl.col(column).alias("text"), *plain.columns[1:])
        if column == "topics":
            long = long.explode("text", empty_as_null=True, keep_nulls=True)
            long = long.filter(pl.col("text").is_not_null())  # was an empty list
        else:
            long = long.filter(pl.col("text") != "")
        hashes = {text: key_hash(kind, text) for text in long["text"].unique()}
        entry = pl.col("text").replace_strict(hashes, return_dtype=pl.Int64, default=0)
        parts.append(long.with_columns(entry=entry).select(parts[0].columns))
    return pl.concat(parts).select("key", "entry", "known_at", "occurred_at", "amount")
