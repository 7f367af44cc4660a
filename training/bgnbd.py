"""BG/NBD: repeat purchases without labels; a baseline, and the fallback for short logs.

Source: Fader, Hardie and Lee (2005), "Counting your customers the easy way". Each person
buys at a gamma-distributed rate while alive and drops out with a beta-distributed chance
after each purchase.

Failure mode: fitted on people filtered for being active lately it believes nobody ever
leaves; fit it on everybody who ever bought.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln

Floats = NDArray[np.float64]
_STARTS = ((0.0, 1.0, 0.0, 0.5), (-1.0, 1.5, -0.2, 0.9), (0.5, 2.0, 0.5, 1.0))


@dataclass(frozen=True, slots=True)
class BgNbd:
    """Rate ~ Gamma(r, alpha), dropout ~ Beta(a, b); time in the unit of the fit."""

    r: float
    alpha: float
    a: float
    b: float

    def p_alive(self, repeats: Floats, newest: Floats, age: Floats) -> Floats:
        """Chance of not having dropped out; one for people without a repeat."""
        log_odds = (self.r + repeats) * np.log((self.alpha + age) / (self.alpha + newest))
        log_odds += np.log(self.a / (self.b + np.maximum(repeats, 1.0) - 1.0))
        dead = np.exp(np.clip(log_odds, -700, 700))
        return np.where(repeats == 0, 1.0, 1.0 / (1.0 + dead))

    def p_silent(self, span: float, repeats: Floats, newest: Floats, age: Floats) -> Floats:
        """Chance of no purchase in the next `span`."""
        none = ((self.alpha + age) / (self.alpha + age + span)) ** (self.r + repeats)
        return 1.0 - self.p_alive(repeats, newest, age) * (1.0 - none)

    def log_likelihood(self, repeats: Floats, newest: Floats, age: Floats) -> float:
        """Of everybody's past together, in nats; what `fit_bgnbd` makes as large as it can be."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        one = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha)
        two = gammaln(a + b) + gammaln(b + repeats) - gammaln(b) - gammaln(a + b + repeats)
        alive = -(r + repeats) * np.log(alpha + age)
        died = np.log(a) - np.log(b + np.maximum(repeats, 1.0) - 1.0)
        died = died - (r + repeats) * np.log(alpha + newest)
        died = np.where(repeats > 0, died, -np.inf)
        return float(np.sum(one + two + np.logaddexp(alive, died)))


def fit_bgnbd(repeats: Floats, newest: Floats, age: Floats) -> BgNbd:
    """Maximum likelihood from three starts.

    Args:
        repeats: Purchases after the first.
        newest: Time from the first to the newest purchase.
        age: Time from the first purchase to now, in the same unit.
    """

    def loss(logs: Floats) -> float:
        model = BgNbd(*map(float, np.exp(logs)))
        return -model.log_likelihood(repeats, newest, age) / len(repeats)

    fits = [minimize(loss, s, method="L-BFGS-B", bounds=[(-6, 8)] * 4) for s in _STARTS]
    best = min(fits, key=lambda fit: float(fit.fun))
    return BgNbd(*map(float, np.exp(best.x)))
