"""From attention to a probability: how often a mail sent in an hour is engaged with in 24 h.

    logit p(s) = intercept + slope * log(attention after s) + weights . log(level + offset)

`slope` is kept above zero, so that the hour's order is the rhythm's and the logs' confounding
(people open when they are mailed) cannot turn it round. Without a mail history the link is the
prior one: the spec's prior at the average hour, attention taken at its word.

How sure it is of its own numbers is the sandwich over recipients, whose mails are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

MIN_SENDS: Final = 500
MIN_ENGAGED: Final = 30
MAX_SLOPE: Final = 2.0
RIDGE: Final = 1e-3
EDGE: Final = 1e-6  # attention below it counts as it
PRIOR_SD: Final = 0.7  # in log odds: how far a sender's level may be from the prior of the spec


@dataclass(frozen=True, slots=True)
class SendLink:
    """The link's parameters; `basis` says whether mail engagement or only activity is behind it.

    Args:
        covariance: Of intercept, slope and weights in this order, shape (m + 2, m + 2).
    """

    intercept: float
    slope: float
    weights: Floats
    offsets: Floats
    basis: str
    covariance: Floats

    def log_odds(self, attention: Floats, level: Floats) -> Floats:
        """Log odds of engaging in 24 h.

        Args:
            attention: Of `aging.seen_after`, shape (n, k).
            level: Level features, shape (n, m).
        """
        base = self.intercept + self.logged(level) @ self.weights
        return np.asarray(self.slope * np.log(np.maximum(attention, EDGE)) + base[:, None])

    def predict(self, attention: Floats, level: Floats) -> Floats:
        """P(engage in 24 h); arguments as of `log_odds`."""
        return np.asarray(expit(self.log_odds(attention, level)))

    def variance(self, attention: Floats, level: Floats) -> Floats:
        """Of `log_odds`, by what the link does not know of its parameters; shape (n, k)."""
        chance = np.log(np.maximum(attention, EDGE))
        known = np.c_[np.ones(len(level)), self.logged(level)]
        own, slope, cross = self.parts
        of_level = ((known @ own) * known).sum(axis=1, keepdims=True)
        return np.asarray(of_level + (2.0 * known @ cross)[:, None] * chance + slope * chance**2)

    @property
    def parts(self) -> tuple[Floats, float, Floats]:
        """The covariance of intercept and weights, the slope's variance, and between them."""
        others = np.r_[0, 2 : len(self.covariance)]
        own = self.covariance[np.ix_(others, others)]
        return own, float(self.covariance[1, 1]), self.covariance[others, 1]

    def logged(self, level: Floats) -> Floats:
        """What the weights multiply, shape (n, m)."""
        return np.asarray(np.log(np.maximum(level, 0.0) + self.offsets))


def prior_link(prior: float, n_level: int) -> SendLink:
    """The link of a sender without a mail history."""
    nothing = np.zeros(n_level)
    covariance = np.diag(np.r_[PRIOR_SD**2, 0.0, nothing])
    return SendLink(float(logit(prior)), 1.0, nothing, np.ones(n_level), "activity", covariance)


def fit_link(
    attention: Floats,
    level: Floats,
    engaged: Floats,
    *,
    people: Groups,
    prior: float,
    read: Sequence[int],
) -> SendLink:
    """Fit the link on matured sends; too few of them give the prior link.

    Args:
        attention: Of the hour each mail was sent in, shape (n,).
        level: Level features at the send, shape (n, m).
        engaged: 1 when a human engaged within 24 h.
        people: Number of each mail's recipient.
        read: Columns of the level features that may have a weight.
    """
    n_level = level.shape[1]
    if len(engaged) < MIN_SENDS or engaged.sum() < MIN_ENGAGED:
        return prior_link(prior, n_level)
    offsets = np.full(n_level, 0.01)
    logs = np.log(np.maximum(level, 0.0) + offsets)[:, read]
    center = logs.mean(axis=0)
    chance = np.log(np.maximum(attention, EDGE))
    rows = np.c_[np.ones(len(engaged)), chance, logs - center]
    target = np.r_[0.0, 1.0, np.zeros(len(read))]
    weight = RIDGE * np.r_[0.0, np.ones(len(read) + 1)]

    def loss(parameters: Floats) -> float:
        z = rows @ parameters
        ridge = float(weight @ (parameters - target) ** 2)
        return float(np.mean(np.logaddexp(0.0, z) - engaged * z) + ridge)

    start = np.r_[logit(engaged.mean()), 1.0, np.zeros(len(read))]
    bounds = [(-12.0, 12.0), (0.05, MAX_SLOPE), *[(-5.0, 5.0)] * len(read)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    place = np.zeros((n_level + 2, len(found)))  # of each parameter among those of all columns
    place[np.r_[0, 1, 2 + np.asarray(read)], np.arange(len(found))] = 1.0
    place[0, 2:] = -center
    whole = place @ found
    covariance = place @ _sandwich(rows, engaged, found, weight, people) @ place.T
    return SendLink(float(whole[0]), float(whole[1]), whole[2:], offsets, "engagement", covariance)


def _sandwich(
    rows: Floats, engaged: Floats, found: Floats, weight: Floats, people: Groups
) -> Floats:
    """Covariance of the parameters, from the sums of each recipient's scores."""
    p = expit(rows @ found)
    bread = np.linalg.inv(
        (rows * (p * (1 - p))[:, None]).T @ rows + 2 * len(rows) * np.diag(weight)
    )
    residual = rows * (engaged - p)[:, None]
    sums = np.stack([np.bincount(people, column) for column in residual.T], axis=1)
    return np.asarray(bread @ (sums.T @ sums) @ bread)
