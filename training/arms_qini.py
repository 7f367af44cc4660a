"""Qini: how much more a mail earns where it goes first to those whom it is said to move most.

Recipients of one arm and of a control arm are ranked by a score. The curve says, for every share
of the population, the outcome that mailing this share adds, per person of the whole population.
Qini is the area between it and the straight line to its end, which a random order gives. Not
divided by anything: for an outcome of 0 and 1 it is in outcomes per person.

Source: Radcliffe (2007), "Using control groups to target on predicted lift"; rows are weighted by
one over the chance of their arm (Horvitz and Thompson), so uneven chances do not tilt it.

Failure mode: scores of several folds must not be pooled as they are. A fold that by chance has a
high effect is scored by models that saw a low one, so pooled scores rank folds upside down (on the
public e-mail experiment a tenth of the area). `rank_within` compares inside folds only.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.report import Measured

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS: Final = 300


def qini(score: Floats, is_arm: NDArray[np.bool_], outcome: Floats, weight: Floats) -> float:
    """Area between the Qini curve and the random line; rows of equal score go together.

    Args:
        score: Shape (n,), higher is mailed first.
        is_arm: Shape (n,), whether the row had the arm and not the control.
        outcome: Shape (n,), more is better.
        weight: Shape (n,), one over the chance of the row's own arm.
    """
    return Ranked(score, is_arm, outcome).area(weight)


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Rows in the order of a score, sorted once so that many weights cost little."""

    score: Floats
    is_arm: NDArray[np.bool_]
    outcome: Floats
    _order: Ints = field(init=False, repr=False)
    _ends: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = np.argsort(-self.score, kind="stable")
        ends = np.flatnonzero(np.r_[np.diff(self.score[order]) != 0, True])
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_ends", ends)

    def area(self, weight: Floats) -> float:
        """The Qini of these rows, each counted `weight` times; NaN where an arm has no row."""
        w = weight[self._order]
        w_arm = np.where(self.is_arm[self._order], w, 0.0)
        y = self.outcome[self._order]
        all_seen, arm_seen, earned, arm_earned = (
            np.cumsum(column)[self._ends] for column in (w, w_arm, w * y, w_arm * y)
        )
        control_seen, control_earned = all_seen - arm_seen, earned - arm_earned
        if arm_seen[-1] <= 0 or control_seen[-1] <= 0:
            return float("nan")
        rate = np.divide(
            control_earned, control_seen, out=np.zeros_like(earned), where=control_seen > 0
        )
        added = (arm_earned - rate * arm_seen) / arm_seen[-1]
        share = all_seen / all_seen[-1]
        area = np.trapezoid(np.r_[0.0, added], np.r_[0.0, share])
        return float(area - added[-1] / 2)


def qini_interval(
    ranked: list[Ranked], weight: Floats, codes: Ints, *, seed: int, draws: int = DRAWS
) -> Measured:
    """The mean Qini of several rankings of the same rows, and its 95 % interval.

    The interval is a percentile bootstrap over recipients, the same draw for every ranking. It
    holds the sampling of those who are ranked, not of those who trained the score.

    Args:
        codes: Shape (n,), number of each row's recipient.
    """
    rng = np.random.default_rng(seed)
    found, own = np.unique(codes, return_inverse=True)
    n = len(found)
    sampled = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, n, n), minlength=n)[own]
        sampled.append(np.mean([one.area(weight * times) for one in ranked]))
    low, high = np.nanpercentile(sampled, [2.5, 97.5])
    value = float(np.mean([one.area(weight) for one in ranked]))
    return Measured(value, float(low), float(high))


def rank_within(score: Floats, fold: Ints) -> Floats:
    """The share of the own fold with a lower score, the middle for ties; shape (n,)."""
    ranks = np.empty(len(score))
    for number in np.unique(fold):
        mine = fold == number
        ranks[mine] = (rankdata(score[mine]) - 0.5) / mine.sum()
    return ranks
