"""Whose local clock the log tells, and how far from UTC the people live whom it tells."""

from collections import Counter
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UTC_ONLY: Final = (0,)
RAREST: Final = 0.01  # an offset of fewer people is left out: each one is K weeks in the graph
_KNOWN_AT: Final = pl.max_horizontal("occurred_at", "received_at").alias("known_at")
_TOLD: Final = pl.col("utc_offset_min").is_not_null()


def is_local(events: pl.LazyFrame, spine: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether any event known before the row's moment told the recipient's clock, shape (n,).

    Args:
        spine: Columns recipient_key and at (microseconds).
    """
    first = events.filter(_TOLD).group_by("recipient_key").agg(_KNOWN_AT.min()).collect()
    joined = spine.select("recipient_key", "at").join(
        first, on="recipient_key", how="left", maintain_order="left"
    )
    known = (joined["known_at"] < joined["at"]).fill_null(value=False)
    return np.asarray(known.to_numpy(), dtype=bool)


def offsets_of(events: pl.LazyFrame) -> tuple[tuple[int, ...], Floats]:
    """Hours ahead of UTC that people of known clocks live at, and the share of people at each.

    Everybody counts once, divided over their own events: summer and winter are two offsets.
    Without any known clock it is UTC alone.
    """
    ahead = pl.col("utc_offset_min").cast(pl.Int64).floordiv(60).alias("ahead")
    each = events.filter(_TOLD).group_by("recipient_key", ahead).len().collect()
    if each.is_empty():
        return UTC_ONLY, np.ones(1)
    share = pl.col("len") / pl.col("len").sum().over("recipient_key")
    people = each.with_columns(share=share).group_by("ahead").agg(pl.col("share").sum())
    shares = Counter(dict(people.select("ahead", "share").iter_rows()))
    total = shares.total()
    kept = {ahead: n / total for ahead, n in shares.items() if n >= RAREST * total}
    offsets = tuple(sorted(kept))
    told = np.array([kept[ahead] for ahead in offsets])
    return offsets, told / told.sum()
