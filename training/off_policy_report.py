"""May an off-line estimate be believed, and what does it say: overlap, limits, verdict.

A verdict is given only where the log can carry one; elsewhere it is "not assessable" with the
reasons, and an A/B test decides. On 5,000 rows at 0.4 % clicks a greedy policy showed +330 %
on 135 effective rows, and nothing in the estimate itself said that it was noise.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from models.report import Measured
from training.off_policy import Estimator, Valued, estimate
from training.off_policy_interval import moments, unseen_row
from training.off_policy_log import Logged, Target, weights

Floats = NDArray[np.float64]

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
_SAME: Final = 1e-9  # rounding of a quotient of equal probabilities


class Outcome(StrEnum):
    """What is known of the target against the policy that ran."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DIFFERENT = "not different"
    NOT_ASSESSABLE = "not assessable"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a log can carry a verdict.

    Args:
        ess: Effective rows at least. Judgement: a greedy policy showed +330 % on 135.
        matched: Rewarded rows at least that the target would take too. Judgement: with fewer
            the interval is some 40 % wide, more than any effect of mail.
        negligible: A weight up to this matches nothing: a tenth of the average one.
        disagreement: SNIPS and DR at most this many standard errors apart. Judgement: in a right
            log both are right, and hardly ever were that far apart in simulated ones.
        confidence: Of the interval of the mean weight that must hold 1. A right log is refused
            in 1 of 100 cases, not in 1 of 20, because this is asked of every log.
        group_share: Largest share of the weight for one recipient. Judgement: with a tenth on
            one person no interval over people holds.
        lift: Relative difference that must be visible before "not different" is said. The size
            for which the rows of the Open Bandit sample were counted: 25 %.
        power: Chance to see it, with a one-sided test of `significance`. As in those counts.
    """

    ess: float = 1_000
    matched: int = 100
    negligible: float = 0.1
    disagreement: float = 1.0
    confidence: float = 0.99
    group_share: float = 0.1
    lift: float = 0.25
    power: float = 0.8
    significance: float = 0.05


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far the log covers what the target would do.

    Args:
        ess: Rows of the target's own that would tell as much: (sum w)^2 / sum w^2.
        quantiles: Of the weights, by level.
        zero_share: Share of rows whose action the target never takes.
        mean_weight: Must be 1 where propensities are right; with the interval of the limits.
        by_slot: The same in each slot, by its name; their joint level is that of the limits.
        matched: Rows with a reward above 0 and a weight above the negligible one.
        group_share: Largest share of all weight that one recipient has.
    """

    n_rows: int
    n_groups: int
    ess: float
    max_weight: float
    quantiles: dict[float, float]
    zero_share: float
    mean_weight: Measured
    by_slot: dict[str, Measured]
    matched: int
    group_share: float

    @property
    def ess_share(self) -> float:
        """Effective rows over rows."""
        return self.ess / self.n_rows


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be said, the numbers that it rests on, and what the log is short of.

    Args:
        more_rows: Rows to log in addition until ESS, matched positives and power are met at the
            rates of this log; None where rows do not help or nothing is known of the rates.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    more_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Everything that was found out of a target policy."""

    valued: Valued
    overlap: Overlap
    verdict: Verdict


def judge(logged: Logged, target: Target, *, limits: Limits | None = None) -> Judged:
    """Value a policy, look at the overlap, and say what may be concluded.

    Raises:
        PolicyLogError: Log and target have different numbers of rows.
    """
    chosen = limits or Limits()
    valued = estimate(logged, target)
    overlap = overlap_of(logged, target, limits=chosen)
    if np.abs(weights(logged, target) - 1).max() <= _SAME:
        same = "every weight is 1: the target is the policy that ran, the difference is 0"
        return Judged(valued, overlap, Verdict(Outcome.NOT_DIFFERENT, (same,)))
    return Judged(valued, overlap, _verdict(valued, overlap, chosen))


def overlap_of(logged: Logged, target: Target, *, limits: Limits) -> Overlap:
    """The overlap of a log with a target."""
    w = weights(logged, target)
    total = float(w.sum())
    levels = np.quantile(w, QUANTILES)
    return Overlap(
        n_rows=len(w),
        n_groups=logged.n_groups,
        ess=total**2 / float(w @ w) if total > 0 else 0.0,
        max_weight=float(w.max()),
        quantiles=dict(zip(QUANTILES, map(float, levels), strict=True)),
        zero_share=float((target.p_logged == 0).mean()),
        mean_weight=_mean_weight(w, logged, confidence=limits.confidence),
        by_slot=_by_slot(w, logged, confidence=limits.confidence),
        matched=int(((logged.reward > 0) & (w > limits.negligible)).sum()),
        group_share=float(np.bincount(logged.codes, w).max()) / total if total > 0 else 0.0,
    )


def _mean_weight(w: Floats, logged: Logged, *, confidence: float) -> Measured:
    return _share_mean(w, np.ones(len(w)), logged, confidence=confidence)


def _by_slot(w: Floats, logged: Logged, *, confidence: float) -> dict[str, Measured]:
    if logged.slot is None:
        return {}
    names = np.unique(logged.slot)
    each = 1 - (1 - confidence) / len(names)
    return {
        str(name): _share_mean(w, (logged.slot == name).astype(float), logged, confidence=each)
        for name in names
    }


def _share_mean(w: Floats, inside: Floats, logged: Logged, *, confidence: float) -> Measured:
    """Mean weight of the rows inside, with an interval over recipients."""
    n = float(inside.sum())
    mean = float(w @ inside) / n
    unseen = unseen_row(w * inside, (w - 1) * len(w) / n, inside)
    influence = (w - mean) * inside / n
    found = moments(mean, influence, logged.codes, logged.n_groups, unseen=unseen)
    return found.interval(confidence=confidence)


def _verdict(valued: Valued, overlap: Overlap, limits: Limits) -> Verdict:
    wrong = _wrong(valued, overlap, limits)
    short = _short(overlap, limits)
    gain = valued.best.gain
    seen = _seen(valued, limits)
    rows = None if wrong else _more_rows(overlap, limits, seen)
    if wrong or short:
        return Verdict(Outcome.NOT_ASSESSABLE, (*wrong, *short), rows)
    stated = (
        f"{valued.best.estimator} differs from the log's mean {valued.logged.value:.5g} by "
        f"{gain.value:+.5g} [{gain.low:+.5g}, {gain.high:+.5g}]"
    )
    carried = f"{overlap.ess:,.0f} effective rows, {overlap.matched:,} matched positives"
    if gain.low > 0:
        return Verdict(Outcome.BETTER, (stated, carried))
    if gain.high < 0:
        return Verdict(Outcome.WORSE, (stated, carried))
    if seen <= limits.lift:
        visible = f"a difference of {seen:.0%} would have been seen"
        return Verdict(Outcome.NOT_DIFFERENT, (stated, carried, visible))
    blind = (
        f"only a difference of {seen:.0%} or more can be seen with power {limits.power:.0%}, "
        f"{limits.lift:.0%} is asked for"
    )
    return Verdict(Outcome.NOT_ASSESSABLE, (stated, blind), rows)


def _wrong(valued: Valued, overlap: Overlap, limits: Limits) -> list[str]:
    """What speaks against the log itself; more rows of the kind do not help."""
    means = {"": overlap.mean_weight} | {f" in slot {k}": m for k, m in overlap.by_slot.items()}
    found = [
        f"the mean weight{where} is {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}] and must "
        "be 1: a propensity is not the chance that was used, or actions of the target were never "
        "possible"
        for where, mean in means.items()
        if not mean.low - _SAME <= 1 <= mean.high + _SAME
    ]
    doubly = valued.estimates.get(Estimator.DR)
    if doubly is not None:
        plain = valued.estimates[Estimator.SNIPS]
        apart = abs(plain.gain.value - doubly.gain.value)
        if apart > limits.disagreement * plain.gain_error:
            found.append(
                f"SNIPS and DR are {apart:.5g} apart, the standard error is "
                f"{plain.gain_error:.5g}: look at the propensities and the reward model"
            )
    return found


def _short(overlap: Overlap, limits: Limits) -> list[str]:
    """What the log has too little of."""
    found = []
    if overlap.ess < limits.ess:
        found.append(
            f"{overlap.ess:,.0f} effective rows of {overlap.n_rows:,}, {limits.ess:,.0f} are needed"
        )
    if overlap.matched < limits.matched:
        found.append(f"{overlap.matched:,} matched positives, {limits.matched:,} are needed")
    if overlap.group_share > limits.group_share:
        found.append(
            f"one recipient has {overlap.group_share:.0%} of the weight, "
            f"at most {limits.group_share:.0%} may be"
        )
    return found


def _seen(valued: Valued, limits: Limits) -> float:
    """Smallest relative difference that this log shows with the power asked for."""
    steps = float(norm.ppf(1 - limits.significance) + norm.ppf(limits.power))
    level = abs(valued.logged.value)
    return steps * valued.best.gain_error / level if level > 0 else inf


def _more_rows(overlap: Overlap, limits: Limits, seen: float) -> int | None:
    if overlap.ess == 0 or overlap.matched == 0 or not np.isfinite(seen):
        return None
    times = max(
        limits.ess / overlap.ess, limits.matched / overlap.matched, (seen / limits.lift) ** 2
    )
    return max(ceil(overlap.n_rows * (times - 1)), 0)
