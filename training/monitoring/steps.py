"""A number that leaves the course of the windows before it.

"More than three standard deviations" is a rule for a deviation that is known. Here it is
estimated from a handful of windows, so the bound is that of a new observation (Student's t), or
that of the window's own chance error where this is wider, and what is beyond it has to matter.

Source: prediction interval of a normal sample (Hahn and Meeker 1991).
Failure mode: what creeps a little every window is its own normal; drift and calibration, whose
reference stays where it was, are there for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

FEWEST: Final = 4  # windows before, below which nothing is usual


@dataclass(frozen=True, slots=True)
class Step:
    """The newest number beside what the ones before lead to expect.

    Args:
        low, high: Where it would be by chance.
    """

    value: float
    usual: float
    low: float
    high: float

    @property
    def is_up(self) -> bool:
        """Whether it lies above."""
        return self.value > self.high

    @property
    def is_down(self) -> bool:
        """Whether it lies below."""
        return self.value < self.low


def step_of(
    values: Sequence[float],
    *,
    error: float = 0.0,
    least: float = 0.0,
    least_part: float = 0.0,
    alpha: float,
) -> Step | None:
    """The last of some numbers beside the ones before; None where there are too few.

    Args:
        values: Oldest first; NaN where a window had nothing to tell.
        error: Standard error of the last one.
        least, least_part: A smaller step does not matter: in the values' unit; as a part of what is
            usual.
        alpha: How often chance alone may go beyond the bounds, both together.
    """
    before = np.array([value for value in values[:-1] if np.isfinite(value)])
    if len(before) < FEWEST or not np.isfinite(values[-1]):
        return None
    among = float(student.ppf(1 - alpha / 2, len(before) - 1)) * float(before.std(ddof=1))
    own = float(norm.ppf(1 - alpha / 2)) * error
    usual = float(before.mean())
    half = max(max(among, own) * sqrt(1 + 1 / len(before)), least, least_part * usual)
    return Step(float(values[-1]), usual, usual - half, usual + half)


def share_error(shares: Sequence[float], n: float, *, least_variance: float = 0.0) -> float:
    """Standard error of the last of some shares, of `n` rows, were it what is usual.

    Args:
        least_variance: Of a row, so that shares near zero or one have an error too.
    """
    before = [share for share in shares[:-1] if np.isfinite(share)]
    usual = float(np.mean(before)) if before else 0.5
    return sqrt(max(usual * (1 - usual), least_variance) / max(n, 1.0))
