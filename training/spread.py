"""How far people's own levels lie from what the level features say of them, in log odds.

    logit p_i = sqrt(1 + C tau^2) * z + tau * xi_i,   tau^2 = level^2 / (1 + active / halved_at)

z is the link's log odds, a mean over people alike; xi_i is standard normal, one per person, and
is integrated out. The root keeps the mean over people where the link has it. The more somebody
has shown, the less is left unexplained.

Source: logistic regression with a random intercept, by Gauss-Hermite quadrature; the root is the
usual approximation of its marginal mean (Zeger, Liang and Albert 1988). Failure mode: people who
change between training and asking spread more than this says.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logsumexp

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

C: Final = (16 * np.sqrt(3) / (15 * np.pi)) ** 2
Z_90: Final = 1.6448536269514722  # standard deviations from the middle to 95 %
LEVELS: Final = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.8, 2.2, 2.6)
HALVED_AT: Final = (3.0, 10.0, 30.0, 100.0, 1e6)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_LOG_WEIGHTS: Final = np.log(_WEIGHTS / _WEIGHTS.sum())


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviation between people of whom nothing is known, in log odds.

    Args:
        halved_at: Active hours at which half of the variance is explained.
    """

    level: float
    halved_at: float

    def variance(self, active: Floats) -> Floats:
        """What is left between people with so many active hours."""
        return np.asarray(self.level**2 / (1.0 + active / self.halved_at))


# Where no mails tell, people differ as much as is usual between recipients of one list.
USUAL: Final = Spread(1.0, HALVED_AT[-1])


def middle(log_odds: Floats, variance: Floats) -> Floats:
    """The median person's log odds, of the log odds of the mean over such people."""
    return np.asarray(log_odds * np.sqrt(1.0 + C * variance))


def interval(log_odds: Floats, between: Floats, unsure: Floats) -> tuple[Floats, Floats]:
    """Low and high end of a 90 % interval on a person's own chance; it holds the mean.

    Args:
        log_odds: Of the mean over people alike.
        between: Variance between such people.
        unsure: Variance of what else is not known.
    """
    mid, half = middle(log_odds, between), Z_90 * np.sqrt(between + unsure)
    low, high = expit(np.minimum(mid - half, log_odds)), expit(np.maximum(mid + half, log_odds))
    return np.asarray(low), np.asarray(high)


def fit_spread(log_odds: Floats, engaged: Floats, active: Floats, people: Groups) -> Spread:
    """The likeliest spread of a grid.

    Args:
        log_odds: Of the link for each mail, shape (n,).
        engaged: 1 when a human engaged within 24 h.
        active: Active hours behind the recipient at each mail.
        people: Number of each mail's recipient.
    """
    sign = 2.0 * engaged - 1.0

    def likelihood(spread: Spread) -> float:
        variance = spread.variance(active)
        mid, sd = middle(log_odds, variance), np.sqrt(variance)
        per_node = [np.bincount(people, log_expit(sign * (mid + x * sd))) for x in _NODES]
        return float(logsumexp(np.stack(per_node) + _LOG_WEIGHTS[:, None], axis=0).sum())

    return max((Spread(*each) for each in product(LEVELS, HALVED_AT)), key=likelihood)
