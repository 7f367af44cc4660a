"""What was known of a recipient in words at a moment: the newest of those told before it."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.cohorts import tells, word

_KNOWN_AT = pl.max_horizontal("occurred_at", "received_at").alias("known_at")


def words_at(events: pl.LazyFrame, spine: pl.DataFrame, attribute: str) -> NDArray[np.object_]:
    """A recipient's attribute as a state of that moment has it, "" where nobody told; shape (n,).

    Args:
        spine: Columns recipient_key and at (microseconds); in its order.
    """
    told = (
        events.filter(tells(attribute))
        .select("recipient_key", _KNOWN_AT, "occurred_at", word(attribute).alias("text"))
        .filter(pl.col("text") != "")
        .sort("known_at", "occurred_at", "text")
        .filter(pl.col("occurred_at") == pl.col("occurred_at").cum_max().over("recipient_key"))
        .collect()
    )
    rows = spine.select("recipient_key", "at").with_row_index("row").sort("at")
    joined = rows.join_asof(
        told, left_on="at", right_on="known_at", by="recipient_key", strategy="backward",
        allow_exact_matches=False, check_sortedness=False,
    )  # fmt: skip
    return np.array(joined.sort("row")["text"].fill_null("").to_list(), dtype=object)
