"""Calibration of a raw score: Platt's line on recipients nobody trained on, or that line bent.

Trees that stop early are too timid where people are plainly gone and too bold just before that:
a line cannot follow. Bent at the eighths of the scores it can, and the order stays what it was.

Source: Platt 1999; a monotone spline in its place as in Lucena 2018 (arXiv 1809.07751), here of
straight pieces, so that the graph needs nothing but a few maxima.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = NDArray[np.float64]

PIECES: Final = 8
# How surely pieces beside each other rise alike, and like the line, in nats per squared log ratio.
_ALIKE, _STRAIGHT = 1.0, 0.1


@dataclass(frozen=True, slots=True)
class Platt:
    """p = sigmoid(slope * raw + intercept + sum of bends * max(raw - knots, 0)).

    Args:
        knots, bends: Where the slope changes, rising, and by how much; none for Platt's own line.
    """

    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()

    def odds(self, raw: Floats) -> Floats:
        """Raw scores, shape (n,), to log odds."""
        line = self.slope * raw + self.intercept
        if not self.knots:
            return np.asarray(line)
        return np.asarray(line + _above(raw, np.array(self.knots)) @ np.array(self.bends))

    def apply(self, raw: Floats) -> Floats:
        """Raw scores, shape (n,), to probabilities."""
        return np.asarray(expit(self.odds(raw)))

    def slopes_at(self, raw: Floats) -> Floats:
        """By how much log odds rise with the score, shape (n,)."""
        return np.asarray(self._slopes[np.searchsorted(self.knots, raw, side="right")])

    def raw_of(self, p: Floats) -> Floats:
        """Probabilities back to raw scores; those at 0 or 1 are taken for the nearest to it."""
        edge = np.finfo(np.float32).eps
        odds = logit(np.clip(p, edge, 1 - edge))
        if not self.knots:
            return np.asarray((odds - self.intercept) / self.slope)
        knots = np.array(self.knots)
        at_knots = self.odds(knots)
        piece = np.searchsorted(at_knots, odds, side="right")
        begin = np.maximum(piece - 1, 0)
        return np.asarray(knots[begin] + (odds - at_knots[begin]) / self._slopes[piece])

    @property
    def meaning(self) -> str:
        """For a report."""
        told = f"slope {self.slope:.3f}, intercept {self.intercept:+.3f}"
        return f"{told}, then slopes to {self._slopes[-1]:.3f}" if self.knots else told

    @property
    def _slopes(self) -> Floats:
        """Of the pieces, from the lowest scores on."""
        return np.cumsum([self.slope, *self.bends])


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


def fit_bent(raw: Floats, y: Floats) -> Platt:
    """Platt's line with a slope of its own, always positive, between the eighths of the scores.

    Few rows leave it a line: each piece has to be worth its bend.
    """
    line = fit_platt(raw, y)
    knots = np.unique(np.quantile(raw, np.arange(1, PIECES) / PIECES))
    columns = np.column_stack([raw, _above(raw, knots)])
    usual, n = np.log(line.slope), len(y)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        logs, intercept = parameters[:-1], parameters[-1]
        slopes = np.exp(logs)
        z = columns @ np.diff(slopes, prepend=0.0) + intercept
        steps, away = np.diff(logs), logs - usual
        penalty = _ALIKE * (steps**2).sum() + _STRAIGHT * (away**2).sum()
        off = expit(z) - y
        by_weight = columns.T @ off
        by_log = (by_weight - np.append(by_weight[1:], 0.0)) * slopes + 2 * _STRAIGHT * away
        by_log[:-1] -= 2 * _ALIKE * steps
        by_log[1:] += 2 * _ALIKE * steps
        value = (np.logaddexp(0.0, z) - y * z).sum() + penalty
        return float(value / n), np.append(by_log, off.sum()) / n

    start = np.append(np.full(len(knots) + 1, usual), line.intercept)
    bounds = [(usual - 4.0, usual + 4.0)] * (len(knots) + 1) + [(-30.0, 30.0)]
    found = minimize(loss, start, method="L-BFGS-B", jac=True, bounds=bounds).x
    weights = np.diff(np.exp(found[:-1]), prepend=0.0)
    return Platt(
        slope=float(weights[0]),
        intercept=float(found[-1]),
        knots=tuple(map(float, knots)),
        bends=tuple(map(float, weights[1:])),
    )


def _above(raw: Floats, knots: Floats) -> Floats:
    """How far each score lies above each knot, shape (n, n_knots)."""
    return np.maximum(raw[:, None] - knots, 0.0)
