"""Measures, each with an interval over recipients: whole people are resampled, never rows.

Source of the protocol: one recipient's rows are alike, so resampling rows makes intervals too
narrow. Percentile bootstrap, 95 %, fixed seed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.report import Measured

Floats = NDArray[np.float64]


def auc(y: Floats, p: Floats) -> float:
    """Chance that a positive scores above a negative; NaN when one class is missing."""
    positives = float(y.sum())
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(p)
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(y: Floats, p: Floats) -> float:
    """Mean negative log likelihood in nats."""
    return float(np.mean(log_losses(y, p)))


def log_losses(y: Floats, p: Floats) -> Floats:
    """The negative log likelihood of each row, in nats; shape (n,)."""
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))


def brier(y: Floats, p: Floats) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((y - p) ** 2))


def ece(y: Floats, p: Floats, *, bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(i) * abs(y[i].mean() - p[i].mean()) for i in parts) / len(p))


def ndcg(gain: Floats, score: Floats, *, at: int = 10) -> float:
    """Normalised discounted gain of one ranking; ties are broken by position."""
    order = np.argsort(-score, kind="stable")
    discount = 1.0 / np.log2(np.arange(2, len(gain) + 2))
    best = np.sort(gain)[::-1]
    ideal = float((best[:at] * discount[:at]).sum())
    return float((gain[order][:at] * discount[:at]).sum()) / ideal if ideal > 0 else float("nan")


def intervals(sampled: Floats) -> list[Measured]:
    """Of each column its first row, which nothing was drawn for, and 95 % of the draws below it."""
    low, high = np.nanpercentile(sampled[1:], [2.5, 97.5], axis=0)
    return [Measured(*map(float, row)) for row in zip(sampled[0], low, high, strict=True)]


def mean_by_group(values: Floats, groups: Sequence[str], *, draws: int = 500) -> list[Measured]:
    """Means of the columns of `values` (n, m) with intervals; columns are resampled together."""
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(inverse.max()) + 1
    size = np.bincount(inverse, minlength=n_groups).astype(float)
    sums = np.stack(
        [np.bincount(inverse, column, minlength=n_groups) for column in values.T], axis=1
    )
    rng = np.random.default_rng(7)
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=draws)
    sampled = (counts @ sums) / (counts @ size)[:, None]
    low, high = np.percentile(sampled, [2.5, 97.5], axis=0)
    point = sums.sum(axis=0) / size.sum()
    return [Measured(*map(float, row)) for row in zip(point, low, high, strict=True)]
