"""From attention to a probability: how often a mail sent in an hour is engaged with in 24 h.

    logit p(s) = intercept + slope * log(attention after s) + weights . log(level + offset)

`slope` is kept above zero, so that the hour's order is the rhythm's and the logs' confounding
(people open when they are mailed) cannot turn it round. Without a mail history the link is the
prior one: the spec's prior at the average hour, attention taken at its word.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = NDArray[np.float64]

MIN_SENDS: Final = 500
MIN_ENGAGED: Final = 30
MAX_SLOPE: Final = 2.0


@dataclass(frozen=True, slots=True)
class SendLink:
    """The link's parameters; `basis` says whether mail engagement or only activity is behind it."""

    intercept: float
    slope: float
    weights: Floats
    offsets: Floats
    basis: str

    def predict(self, attention: Floats, level: Floats) -> Floats:
        """P(engage in 24 h).

        Args:
            attention: Of `rhythm.seen_after`, shape (n, k).
            level: Level features, shape (n, m).
        """
        logs = np.log(np.maximum(level, 0.0) + self.offsets)
        base = self.intercept + logs @ self.weights
        chance = self.slope * np.log(np.maximum(attention, 1e-6))
        return np.asarray(expit(chance + base[:, None]))


def prior_link(prior: float, n_level: int) -> SendLink:
    """The link of a sender without a mail history."""
    nothing = np.zeros(n_level)
    return SendLink(float(logit(prior)), 1.0, nothing, np.ones(n_level), basis="activity")


def fit_link(attention: Floats, level: Floats, engaged: Floats, *, prior: float) -> SendLink:
    """Fit the link on matured sends; too few of them give the prior link.

    Args:
        attention: Of the hour each mail was sent in, shape (n,).
        level: Level features at the send, shape (n, m).
        engaged: 1 when a human engaged within 24 h.
    """
    n_level = level.shape[1]
    if len(engaged) < MIN_SENDS or engaged.sum() < MIN_ENGAGED:
        return prior_link(prior, n_level)
    offsets = np.full(n_level, 0.01)
    logs = np.log(np.maximum(level, 0.0) + offsets)
    center = logs.mean(axis=0)
    chance = np.log(np.maximum(attention, 1e-6))

    def loss(parameters: Floats) -> float:
        z = parameters[0] + parameters[1] * chance + (logs - center) @ parameters[2:]
        ridge = 1e-3 * ((parameters[1] - 1.0) ** 2 + float(parameters[2:] @ parameters[2:]))
        return float(np.mean(np.logaddexp(0.0, z) - engaged * z) + ridge)

    start = np.r_[logit(engaged.mean()), 1.0, np.zeros(n_level)]
    bounds = [(-12.0, 12.0), (0.05, MAX_SLOPE), *[(-5.0, 5.0)] * n_level]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    intercept = float(found[0] - center @ found[2:])
    return SendLink(intercept, float(found[1]), found[2:], offsets, basis="engagement")
