"""Intervals of weighted means over recipients, honest where rewards are rare and weights skewed.

Three steps, each for a way in which the plain interval (value +- 2 standard errors) is too short:

* Recipients, not rows: influence values are added up by recipient first; t quantile.
* Skewness: the variance at a candidate value is not the one at the estimate. For a share this
  is Wilson's interval; in general the variance grows by third over second moment of the
  influence values (the first term of tilting them towards the candidate).
* What was not seen: with few rewarded rows that the target would take, both estimate and
  standard error are too small together. One more such row, as heavy as the target's typical one,
  is added to the moments, as Agresti and Coull add two successes.

Source: Wilson (1927), "Probable inference"; Johnson (1978), "Modified t tests and confidence
intervals for asymmetrical populations"; Agresti and Coull (1998), "Approximate is better than
'exact'". The choice was made by measured coverage, see docs/off-policy.md.

Failure mode: no interval sees a reward that only actions with next to no propensity bring; the
effective sample size does, so read the verdict and not the interval alone.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from models.report import Measured

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Moments:
    """An estimate with sums of powers of its influence values by recipient.

    Args:
        df: Degrees of freedom of the squares' sum, fewer than recipients where few make it up.
    """

    value: float
    squares: float
    cubes: float
    df: float

    @property
    def error(self) -> float:
        """Standard error."""
        return sqrt(self.squares)

    def interval(self, *, confidence: float = 0.95) -> Measured:
        """Where candidates are that the data do not speak against, by the score's own variance."""
        if not np.isfinite(self.value):
            return Measured(nan, nan, nan)
        quantile = float(student.ppf(0.5 + confidence / 2, self.df))
        if self.squares == 0:
            return Measured(self.value, self.value, self.value)
        lean = quantile**2 * self.cubes / self.squares / 2
        half = sqrt(lean**2 + quantile**2 * self.squares)
        return Measured(self.value, self.value + lean - half, self.value + lean + half)


def moments(
    value: float,
    influence: Floats,
    codes: Ints,
    n_groups: int,
    *,
    unseen: tuple[float, float] = (0.0, 0.0),
) -> Moments:
    """Clustered moments of an estimate.

    Args:
        influence: Shape (n,), how much each row moves the estimate; adds up to 0.
        codes: Shape (n,), number of each row's recipient.
        unseen: Square and cube of what one more row would move it by, see `unseen_row`.
    """
    by_group = np.bincount(codes, influence, n_groups)
    by_group_2 = by_group**2
    alone, together = float(influence @ influence), float(by_group_2.sum())
    # Rows of a recipient that go together are missed together: their design effect.
    block = max(together / alone, 1.0) if alone > 0 else 1.0
    square, cube = unseen[0] * block**2, unseen[1] * block**3
    correction = n_groups / (n_groups - 1)
    squares = correction * together + square
    cubes = correction * float(by_group_2 @ by_group) + cube
    fourths = float(by_group_2 @ by_group_2) + square**2
    return Moments(value, squares, cubes, _degrees_of_freedom(squares, fourths, n_groups))


def unseen_row(mass: Floats, pull: Floats, residual: Floats) -> tuple[float, float]:
    """Square and cube of what one more row where the target puts its mass would add to a mean.

    Args:
        mass: Shape (n,), importance weights: drawn by them, rows are the target's.
        pull: Shape (n,), by how much a row's residual counts in the estimate.
        residual: Shape (n,), reward less what the estimate knew of it.
    """
    total, spread = float(mass.sum()), float(residual @ residual)
    if total <= 0 or spread == 0:
        return 0.0, 0.0
    # For a rare success both are its size; the signed one is zero for a symmetric reward.
    squared = residual**2
    size = float(squared @ np.abs(residual)) / spread
    signed = float(squared @ residual) / spread
    step = sqrt(float(mass @ pull**2) / total) / len(mass)
    return (step * size) ** 2, step**3 * size**2 * signed


def _degrees_of_freedom(squares: float, fourths: float, n_groups: int) -> float:
    """Satterthwaite's: twice the squared mean of the variance estimate over its variance."""
    if squares == 0:
        return n_groups - 1.0
    relative = fourths / squares**2 - 1 / n_groups
    return float(np.clip(2 / relative, 1.0, n_groups - 1)) if relative > 0 else n_groups - 1.0
