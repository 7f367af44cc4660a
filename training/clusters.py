"""Intervals from sums per recipient, in closed form: what a bootstrap gives, in one pass.

Source: the sandwich estimator over clusters (Liang and Zeger 1986), t quantiles over the number
of recipients. Failure mode: with a few dozen recipients, of whom one holds most rows, intervals
are too narrow; such slices are not shown at all.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t

from models.report import Calibration, Measured

Floats = NDArray[np.float64]
_EDGE: Final = 1e-6
_STEPS: Final = 25


def means(columns: Floats, groups: NDArray[np.int64]) -> list[Measured]:
    """Means of the columns with 95 % intervals over groups.

    Args:
        columns: Shape (n, m).
        groups: Number of the recipient of each row, shape (n,).
    """
    point = columns.mean(axis=0)
    half = _quantile(len(np.unique(groups))) * errors_of(columns, groups)
    return [
        Measured(float(m), float(m - h), float(m + h)) for m, h in zip(point, half, strict=True)
    ]


def errors_of(columns: Floats, groups: NDArray[np.int64]) -> Floats:
    """Standard errors of the columns' means over groups, shape (m,); arguments as in `means`."""
    summed, n_groups = _summed(columns - columns.mean(axis=0), groups)
    variance = (summed**2).sum(axis=0) * n_groups / max(n_groups - 1, 1) / len(columns) ** 2
    return np.asarray(np.sqrt(variance))


def calibration(y: Floats, p: Floats, people: Sequence[str]) -> Calibration:
    """Calibration in the large and slope, both on log odds, intervals over people.

    Args:
        y: 0 or 1, shape (n,).
        p: Probabilities, shape (n,).
        people: Recipient of each row.
    """
    groups = np.unique(np.asarray(people), return_inverse=True)[1]
    z = logit(np.clip(p, _EDGE, 1 - _EDGE))
    shift = _fitted(np.ones((len(y), 1)), z, y, groups)[0]
    slope = _fitted(np.stack([z, np.ones(len(y))], axis=1), np.zeros(len(y)), y, groups)[0]
    return Calibration(float(p.mean()), float(y.mean()), shift, slope)


def _fitted(rows: Floats, offset: Floats, y: Floats, groups: NDArray[np.int64]) -> list[Measured]:
    """Logistic regression by Newton's steps; a tiny ridge keeps separated data finite."""
    ridge = np.eye(rows.shape[1])
    weights, spread = np.zeros(rows.shape[1]), ridge
    residual = np.zeros(len(y))
    for _ in range(_STEPS):
        chance = expit(rows @ weights + offset)
        residual = y - chance
        spread = np.linalg.inv((rows * (chance * (1 - chance))[:, None]).T @ rows + ridge * 1e-3)
        step = spread @ (rows.T @ residual - 1e-3 * weights)
        weights = weights + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    summed, n_groups = _summed(rows * residual[:, None], groups)
    variance = np.diag(spread @ (summed.T @ summed) @ spread) * n_groups / max(n_groups - 1, 1)
    half = _quantile(n_groups) * np.sqrt(variance)
    return [
        Measured(float(w), float(w - h), float(w + h)) for w, h in zip(weights, half, strict=True)
    ]


def _summed(columns: Floats, groups: NDArray[np.int64]) -> tuple[Floats, int]:
    known, numbers = np.unique(groups, return_inverse=True)
    sums = [np.bincount(numbers, column, minlength=len(known)) for column in columns.T]
    return np.stack(sums, axis=1), len(known)


def _quantile(n_groups: int) -> float:
    return float(t.ppf(0.975, max(n_groups - 1, 1)))
