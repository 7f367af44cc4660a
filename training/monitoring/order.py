"""Does the order of the items tell which are clicked? Asked of drawn first places alone.

What a model puts first is seen, and what is seen is clicked: over all mails any order looks good.
Where the first place was drawn the item stands there for no merit. Weighted by the inverse of its
chance in the draw, the clicks are those of any item alone, and the model's own order of them is
judged by nDCG: 1 / log2(1 + rank) of the clicked item, against what an even order would get.

Source: inverse propensity scoring, self-normalised (Swaminathan and Joachims 2015).
Failure mode: one mail in twenty explores and one in dozens is clicked, so months may pass before
anything can be said.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from training.monitoring.findings import ALPHA, Signal, judged, unjudged

NAME: Final = "order of items"
SUBJECT: Final = "nDCG over an even order, drawn first places"
FEWEST: Final = 30  # clicks on drawn items
_SURE: Final = float(norm.ppf(1 - ALPHA))
_Z: Final = float(norm.ppf(0.975))


def order_signal(joined: pl.DataFrame, *, epsilon: float) -> Signal:
    """By how much the model's order beats an even one; an alarm where it is surely worse.

    Args:
        joined: Of `outcomes.outcomes`, for as long as is to be judged.
        epsilon: The share of mails whose first item is drawn.
    """
    if joined.is_empty() or not epsilon:
        return unjudged(NAME, SUBJECT, _need(0))
    drawn = joined.filter(
        pl.col("arm") == "personal", "explored", "delivered", "is_settled",
        pl.col("candidates").list.len() > 1,
        pl.col("p_click").list.len() == pl.col("candidates").list.len(),
    )  # fmt: skip
    clicks = int(drawn["clicked"].sum())
    if clicks < FEWEST:
        return unjudged(NAME, SUBJECT, _need(clicks))
    own = pl.col("p_click").list.first()  # the drawn item stands first
    rank = 1 + (pl.col("p_click").list.eval(pl.element() > pl.element().first())).list.sum()
    best = 1.0 - epsilon
    told = drawn.select(
        "recipient_key",
        "clicked",
        rank.alias("rank"),
        pl.col("candidates").list.len().alias("n"),
        pl.when(own >= pl.col("p_click").list.max())
        .then((pl.col("propensity") - best) / epsilon)
        .otherwise(pl.col("propensity") / epsilon)
        .alias("share"),
    ).filter(pl.col("share") > 0)
    gain = 1.0 / np.log2(1.0 + told["rank"].to_numpy())
    even = _even(told["n"].to_numpy())
    weight = told["clicked"].to_numpy() / told["share"].to_numpy()
    total = float(weight.sum())
    lift = float((weight * (gain - even)).sum() / total)
    errors = told.select("recipient_key").with_columns(
        pl.Series("error", weight * (gain - even - lift) / total)
    )
    per_person = errors.group_by("recipient_key").agg(pl.col("error").sum())["error"]
    spread = float(np.linalg.norm(per_person.to_numpy()))
    is_worse = lift + _SURE * spread < 0
    ctr = clicks / len(drawn)
    return Signal(
        NAME, SUBJECT, lift, "surely below zero: alarm", judged(is_worse),
        f"{lift:+.3f} [{lift - _Z * spread:+.3f}, {lift + _Z * spread:+.3f}]; {ctr:.2%} of "
        f"{len(drawn):,} drawn first items were clicked",
        "the model orders items worse than chance: switch it off, then look at its inputs"
        if is_worse else "",
    )  # fmt: skip


def _even(n: NDArray[np.int64]) -> NDArray[np.float64]:
    """What an even order of so many items gets in the mean."""
    gains = np.cumsum(1.0 / np.log2(1.0 + np.arange(1, n.max() + 1)))
    return np.asarray(gains[n - 1] / n)


def _need(clicks: int) -> str:
    return f"{clicks} clicks on first items that were drawn, {FEWEST} are needed"
