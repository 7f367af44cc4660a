"""Platt calibration: two numbers on the raw score, fitted on recipients nobody trained on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(slope * raw + intercept)."""

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, raw: Floats) -> Floats:
        """Raw scores (log odds), shape (n,), to probabilities."""
        return np.asarray(expit(self.slope * raw + self.intercept))

    @property
    def meaning(self) -> str:
        """For a report."""
        return f"slope {self.slope:.3f}, intercept {self.intercept:+.3f}"

    def raw_of(self, p: Floats) -> Floats:
        """Probabilities back to raw scores; those at 0 or 1 are taken for the nearest to it."""
        edge = np.finfo(np.float32).eps
        return np.asarray((logit(np.clip(p, edge, 1 - edge)) - self.intercept) / self.slope)


def fit_platt(raw: Floats, y: Floats, *, ridge: float = 1e-3) -> Platt:
    """Maximum likelihood, slope kept positive; with one class only the prior shift is fitted.

    Failure mode: fitted on rows the estimator has seen it believes the scores too much.
    """

    def loss(parameters: Floats) -> float:
        slope, intercept = np.exp(parameters[0]), parameters[1]
        z = slope * raw + intercept
        penalty = ridge * (parameters[0] ** 2 + intercept**2)
        return float(np.mean(np.logaddexp(0.0, z) - y * z) + penalty)

    found = minimize(loss, np.zeros(2), method="BFGS").x
    return Platt(slope=float(np.exp(found[0])), intercept=float(found[1]))
