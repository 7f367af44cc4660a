"""What another policy would have earned, from the log of the one that ran.

IPS weighs each reward by how much likelier the target takes the logged action; SNIPS divides by
the sum of the weights; DM asks a reward model; DR asks the model and weighs only its errors;
switch-DR leaves the model alone where a weight exceeds a threshold.

Source: Horvitz and Thompson (1952) for IPS; Swaminathan and Joachims (2015) for SNIPS; Dudik,
Langford and Li (2011) for DR; Wang, Agarwal and Dudik (2017), "Optimal and adaptive off-policy
evaluation in contextual bandits" (arXiv 1612.01205), for switch-DR and its threshold.

Failure mode: all rest on propensities being those that were used. The interval of DM holds the
sampling of contexts only, not the model's error; nobody should decide on it alone.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.report import Measured
from training.off_policy_interval import Moments, moments, unseen_row
from training.off_policy_log import Logged, Target, weights

Floats = NDArray[np.float64]

N_THRESHOLDS: Final = 20  # candidates of switch-DR, at equal steps of the weights' ranks


class Estimator(StrEnum):
    """Ways to value a policy off-line."""

    IPS = "IPS"
    SNIPS = "SNIPS"
    DM = "DM"
    DR = "DR"
    SWITCH_DR = "switch-DR"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an estimator says of the target, alone and against what the log earned.

    Args:
        value: Mean reward per row under the target.
        gain: The value less the mean reward of the log, paired: recipients are the same ones.
        gain_error: Standard error of the gain.
        threshold: Of switch-DR, else infinite.
    """

    estimator: Estimator
    value: Measured
    gain: Measured
    gain_error: float
    threshold: float = inf


@dataclass(frozen=True, slots=True)
class Valued:
    """The mean reward of the log and every estimate that could be made."""

    logged: Measured
    estimates: dict[Estimator, Estimate]

    @property
    def best(self) -> Estimate:
        """DR where there is a reward model, else SNIPS."""
        return self.estimates.get(Estimator.DR, self.estimates[Estimator.SNIPS])


@dataclass(frozen=True, slots=True, eq=False)
class _Terms:
    """An estimator per row: influence (n,), and mass, pull and residual of `unseen_row`."""

    value: float
    influence: Floats
    pull: Floats
    residual: Floats


def estimate(logged: Logged, target: Target, *, threshold: float | None = None) -> Valued:
    """Every estimator that the columns allow, each with 95 % intervals.

    Args:
        threshold: Largest weight with which switch-DR corrects the model; None chooses it from
            the data, see `switch_threshold`, and adds the bias there may be to the interval.

    Raises:
        PolicyLogError: Log and target have different numbers of rows.
    """
    w = weights(logged, target)
    mean = float(logged.reward.mean())
    own = (logged.reward - mean) / len(logged)
    every = np.ones(len(logged))
    on_policy = _moments(_Terms(mean, own, every, logged.reward - mean), logged, every)
    found = {
        name: _estimate(name, terms, logged, w, own)
        for name, terms in (_weighted(logged, w) | _modelled(logged, target, w)).items()
    }
    if target.q_logged is not None and target.q_target is not None:
        limit, bias = switch_threshold(logged, target) if threshold is None else (threshold, 0.0)
        kept = np.where(w <= limit, w, 0.0)
        terms = _corrected(target.q_target, kept, logged.reward - target.q_logged)
        switched = _estimate(Estimator.SWITCH_DR, terms, logged, w, own)
        found[Estimator.SWITCH_DR] = replace(
            switched,
            value=_wider(switched.value, bias),
            gain=_wider(switched.gain, bias),
            threshold=limit,
        )
    return Valued(_inside(on_policy, logged), found)


def switch_threshold(logged: Logged, target: Target) -> tuple[float, float]:
    """The threshold with the smallest upper bound on the mean squared error, and its bias.

    The bound is the variance of the estimate plus the square of the largest bias there can be:
    the share of the target's actions above the threshold times the error that the model may
    have in a mean reward there. For that stands the distance from the smallest reward to the
    largest value that the model gives. Infinite, that is DR, where no cut is worth its bias.
    """
    if target.q_logged is None or target.q_target is None:
        return inf, 0.0
    w = weights(logged, target)
    residual = logged.reward - target.q_logged
    ranks = np.quantile(w[w > 0], np.linspace(0.05, 1, N_THRESHOLDS)) if w.any() else w[:0]
    tops = target.q_logged.max(), target.q_target.max(), logged.reward.mean()
    reach = float(max(tops) - logged.reward.min())
    best, found = inf, (inf, 0.0)
    for tau in (inf, *np.unique(ranks)[-2::-1]):
        kept = np.where(w <= tau, w, 0.0)
        bias = max(reach, 0.0) * float((w - kept).mean())
        terms = _corrected(target.q_target, kept, residual)
        bound = _moments(terms, logged, w).squares + bias**2
        if bound < best:
            best, found = bound, (float(tau), bias)
    return found


def _modelled(logged: Logged, target: Target, w: Floats) -> dict[Estimator, _Terms]:
    if target.q_logged is None or target.q_target is None:
        return {}
    residual = logged.reward - target.q_logged
    return {
        Estimator.DM: _corrected(target.q_target, np.zeros(len(w)), residual),
        Estimator.DR: _corrected(target.q_target, w, residual),
    }


def _weighted(logged: Logged, w: Floats) -> dict[Estimator, _Terms]:
    reward, n = logged.reward, len(logged)
    ips = float((w * reward).mean())
    share = float(w.mean())
    snips = ips / share if share > 0 else nan
    residual = reward - snips
    return {
        Estimator.IPS: _Terms(ips, (w * reward - ips) / n, w, reward),
        Estimator.SNIPS: _Terms(
            snips, w * residual / (share or nan) / n, w / (share or nan), residual
        ),
    }


def _corrected(q_target: Floats, kept: Floats, residual: Floats) -> _Terms:
    each = q_target + kept * residual
    value = float(each.mean())
    return _Terms(value, (each - value) / len(each), kept, residual)


def _moments(terms: _Terms, logged: Logged, w: Floats) -> Moments:
    unseen = unseen_row(w, terms.pull, terms.residual)
    return moments(terms.value, terms.influence, logged.codes, logged.n_groups, unseen=unseen)


def _estimate(name: Estimator, terms: _Terms, logged: Logged, w: Floats, own: Floats) -> Estimate:
    value = _moments(terms, logged, w)
    paired = _Terms(
        terms.value - float(logged.reward.mean()),
        terms.influence - own,
        terms.pull - 1.0,
        terms.residual,
    )
    gain = _moments(paired, logged, w)
    return Estimate(name, _inside(value, logged), gain.interval(), gain.error)


def _inside(found: Moments, logged: Logged) -> Measured:
    """The interval within the rewards there are; no policy earns less or more than them."""
    wide = found.interval()
    low = max(wide.low, min(wide.value, float(logged.reward.min())))
    high = min(wide.high, max(wide.value, float(logged.reward.max())))
    return Measured(wide.value, low, high)


def _wider(found: Measured, by: float) -> Measured:
    return Measured(found.value, found.low - by, found.high + by)
