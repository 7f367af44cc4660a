"""How far people's own levels lie from what the level features say of them.

Some have left without saying so and answer nothing; the others differ in log odds:

    gone_i ~ Bernoulli(pi_i),   logit (pi_i / MOST_GONE) = gone - fading * (z_i - REST)
    logit p_i = sqrt(1 + C tau_i^2) * logit(p / (1 - pi_i)) + tau_i * xi_i
    tau_i^2 = level^2 / (1 + active_i / halved_at)

z_i is the link's log odds at an average hour, p its mean over people alike; xi_i is standard
normal, one per person, and is integrated out. The root and the division keep that mean where the
link has it. The more somebody has shown, the less is left unexplained.

Source: logistic regression with a random intercept by Gauss-Hermite quadrature, zeros in excess;
the root is the usual approximation of its marginal mean (Zeger, Liang and Albert 1988). Failure
mode: people who change between training and asking spread more than this says.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit, logsumexp

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

C: Final = (16 * np.sqrt(3) / (15 * np.pi)) ** 2
REST: Final = float(logit(0.05))
TAIL: Final = 0.05  # on either side of a 90 % interval
# Normal quantiles by logistic ones, which have a closed form: exact at TAIL.
SCALE: Final = 1.6448536269514722 / float(logit(1 - TAIL))
LEAST: Final = 1e-6  # of a tail
FADE: Final = 0.04  # of the tail, below which the low end goes to zero
MOST_GONE: Final = 0.8
MOST_ALIVE: Final = 0.95
NEVER_HALVED: Final = 1e6
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_LOG_WEIGHTS: Final = np.log(_WEIGHTS / _WEIGHTS.sum())


@dataclass(frozen=True, slots=True)
class Spread:
    """How people alike differ.

    Args:
        level: Standard deviation between those of whom nothing is known, in log odds.
        halved_at: Active hours at which half of that variance is explained.
        gone: Log odds of having left, for who is expected to answer one mail in twenty.
        fading: How much less likely that is per log odds of answering.
    """

    level: float
    halved_at: float
    gone: float
    fading: float

    def variance(self, active: Floats) -> Floats:
        """What is left between people with so many active hours."""
        return np.asarray(self.level**2 / (1.0 + active / self.halved_at))

    def p_gone(self, rest: Floats | float) -> Floats:
        """Chance of having left, by the log odds of answering at an average hour."""
        return np.asarray(MOST_GONE * expit(self.gone - self.fading * (rest - REST)))


# Where no mails tell, people differ as much as is usual between recipients of one list.
USUAL: Final = Spread(1.0, NEVER_HALVED, -3.0, 0.5)


def middle(log_odds: Floats, variance: Floats, gone: Floats) -> Floats:
    """Log odds of the median person still there, of those of the mean over people alike."""
    alive = np.minimum(expit(log_odds) / (1.0 - gone), MOST_ALIVE)
    return np.asarray(logit(alive) * np.sqrt(1.0 + C * variance))


def interval(
    log_odds: Floats, between: Floats, unsure: Floats, gone: Floats
) -> tuple[Floats, Floats]:
    """Low and high end of a 90 % interval on a person's own chance; it holds the mean.

    Args:
        log_odds: Of the mean over people alike.
        between: Variance between such people.
        unsure: Variance of what else is not known.
        gone: Chance of having left.
    """
    mid, sd = middle(log_odds, between, gone), np.sqrt(between + unsure)
    p = expit(log_odds)
    below = (TAIL - gone) / (1.0 - gone)
    low = expit(mid + sd * _quantile(below)) * np.clip(below / FADE, 0.0, 1.0)
    high = expit(mid + sd * _quantile((1.0 - TAIL - gone) / (1.0 - gone)))
    return np.minimum(low, p), np.maximum(high, p)


def fit_spread(
    log_odds: Floats, rest: Floats, engaged: Floats, *, active: Floats, people: Groups
) -> Spread:
    """The likeliest spread.

    Args:
        log_odds: Of the link for each mail, shape (n,).
        rest: The same at an average hour of each recipient, shape (n_people,).
        engaged: 1 when a human engaged within 24 h, shape (n,).
        active: Active hours behind each recipient, shape (n_people,).
        people: Number of each mail's recipient.
    """
    sign = 2.0 * engaged - 1.0
    is_silent = np.bincount(people, engaged) == 0

    def loss(found: Floats) -> float:
        spread = _spread(found)
        gone, variance = spread.p_gone(rest), spread.variance(active)
        mid = middle(log_odds, variance[people], gone[people])
        sd = np.sqrt(variance)[people]
        there = [np.bincount(people, log_expit(sign * (mid + x * sd))) for x in _NODES]
        alive = logsumexp(np.stack(there) + _LOG_WEIGHTS[:, None], axis=0) + np.log1p(-gone)
        total = np.where(is_silent, np.logaddexp(alive, np.log(gone)), alive)
        return float(-total.mean() + 1e-4 * (found[2] - USUAL.gone) ** 2)

    bounds = [(np.log(0.1), np.log(3.0)), (np.log(10.0), np.log(NEVER_HALVED)), (-9.0, 2.0),
              (0.0, 3.0)]  # fmt: skip
    # Few left or many: the likelihood may have a hill for either, because both explain silence.
    starts = [
        np.r_[0.0, np.log(30.0), USUAL.gone, USUAL.fading],
        np.r_[-0.7, np.log(1e3), -1.0, 2.5],
    ]
    tried = [
        minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 25})
        for start in starts
    ]
    return _spread(min(tried, key=lambda found: float(found.fun)).x)


def _spread(found: Floats) -> Spread:
    return Spread(*(float(x) for x in np.r_[np.exp(found[:2]), found[2:]]))


def _quantile(share: Floats) -> Floats:
    return np.asarray(SCALE * logit(np.clip(share, LEAST, 1.0 - LEAST)))
