"""The holdout beside the others: is it as large as meant, and what do the decisions gain?

A holdout that is not as large as meant tells of a fault (in the draw, in logging, in delivery)
that makes every comparison with it void: the lift is read only while nothing speaks against it.

Failure mode: five in a hundred recipients held out show large effects only; an interval around
zero is the usual state of a small sender, and no proof of anything.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.report import Measured
from training.monitoring.findings import NO_DECISION, Judgement, Signal, judged, unjudged
from training.monitoring.ratio import ALPHA_EVER, is_refuted

MISMATCH, LIFT = "sample-ratio mismatch", "holdout lift"
HOLDOUT: Final = "holdout"
FEWEST: Final = 30  # recipients of an arm
DRAWS: Final = 500


def mismatch_signals(decided: pl.DataFrame, joined: pl.DataFrame, *, share: float) -> list[Signal]:
    """Whether recipients held out are as many as meant: of those decided on, and of those reached.

    Args:
        decided: Of `outcomes.decisions_once`.
        joined: Of `outcomes.outcomes`.
        share: Of recipients to be held out.
    """
    if decided.is_empty():
        return [unjudged(MISMATCH, "decided", NO_DECISION)]
    reached = joined.filter("delivered") if len(joined) else joined
    signals = [_mismatch("decided", decided, share)]
    if len(reached):
        signals.append(_mismatch("delivered", reached, share))
    return [*signals, _torn(decided)]


def lift_of(joined: pl.DataFrame, column: str = "engaged", *, seed: int = 7) -> Measured | None:
    """How much more often, relatively, mails of the others succeed; resampled by recipient.

    None where an arm has fewer than 30 recipients or the holdout no success at all.
    """
    lifts = resampled(joined, pl.col("arm") == HOLDOUT, column, seed=seed)
    if lifts is None:
        return None
    low, high = np.percentile(lifts[1:], [2.5, 97.5])
    return Measured(float(lifts[0]), float(low), float(high))


def resampled(
    joined: pl.DataFrame, is_base: pl.Expr, column: str, *, seed: int = 7
) -> NDArray[np.float64] | None:
    """The lift of the other mails over those of the base, then that of `DRAWS` resamples.

    None where either has fewer than 30 recipients reached or the base no success at all.
    """
    reached = joined.filter("delivered") if len(joined) else joined
    if reached.is_empty():
        return None
    by_person = reached.group_by("recipient_key", is_base.alias("is_base")).agg(
        pl.col(column).sum().cast(pl.Float64).alias("hits"), pl.len().cast(pl.Float64).alias("n")
    )
    rng = np.random.default_rng(seed)
    rates = []
    for base in (True, False):
        some = by_person.filter(pl.col("is_base") == base).sort("recipient_key")
        sums = some.select("hits", "n").to_numpy()
        if len(sums) < FEWEST or (base and sums[:, 0].sum() == 0):
            return None
        counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=DRAWS)
        drawn = np.concatenate([np.ones((1, len(sums))), counts]) @ sums
        rates.append(drawn[:, 0] / np.maximum(drawn[:, 1], 1.0))
    held, others = rates
    return np.asarray(others / np.maximum(held, 1e-12) - 1)


def lift_signal(joined: pl.DataFrame, before: pl.DataFrame) -> Signal:
    """The lift of the newest month: an alarm where it is surely a loss, a month running.

    Args:
        joined, before: Outcomes of the newest 28 days, and of the 28 before those.
    """
    lift, earlier = lift_of(joined), lift_of(before)
    if lift is None:
        why = f"it needs {FEWEST} recipients reached, and an answer, in each arm"
        return unjudged(LIFT, "engaged within 24 h", why)
    is_loss = lift.high < 0
    is_unshown = earlier is not None and lift.low < 0 and earlier.low < 0
    judgement = judged(is_loss)
    if is_unshown and not is_loss:
        judgement = Judgement.NOTICE
    said = f"{lift.value:+.1%} [{lift.low:+.1%}, {lift.high:+.1%}] over the holdout"
    remedy = "`opportune switch off send_time`, then find out why" if is_loss else ""
    if is_unshown and not is_loss:
        remedy = "no gain shown for two months; a larger OPPORTUNE_HOLDOUT would show it sooner"
    bound = "interval below zero: alarm; not above zero for two months: notice"
    return Signal(LIFT, "engaged within 24 h", lift.value, bound, judgement, said, remedy)


def _mismatch(what: str, rows: pl.DataFrame, share: float) -> Signal:
    people = rows.group_by("recipient_key").agg(pl.col("arm").first())
    n, hits = len(people), int((people["arm"] == HOLDOUT).sum())
    is_wrong = is_refuted(hits, n, share=share)
    return Signal(
        MISMATCH, what, hits / n,
        f"{share:.2%}, refuted at {ALPHA_EVER:g} over all windows together", judged(is_wrong),
        f"{hits:,} of {n:,} recipients held out, {share:.2%} meant",
        "no lift can be read: look for lost decisions, or mails "
        "that one arm gets and the other does not" if is_wrong else "",
    )  # fmt: skip


def _torn(decided: pl.DataFrame) -> Signal:
    """Recipients that were held out and were not: one salt each."""
    arms = decided.group_by("recipient_key").agg(pl.col("arm").n_unique().alias("arms"))
    torn = int((arms["arms"] > 1).sum())
    judgement = Judgement.NOTICE if torn else Judgement.FINE
    remedy = "OPPORTUNE_HOLDOUT_SALT was changed: the arms are not those of before" if torn else ""
    said = f"{torn:,} recipients were in both arms"
    return Signal(MISMATCH, "in both arms", float(torn), "none", judgement, said, remedy)
