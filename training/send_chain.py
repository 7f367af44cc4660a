"""The whole send-time estimator: from a person's counts to chances, activity and intervals.

`send_graph` repeats it in ONNX, operation by operation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.spec import HOURS_PER_WEEK
from models.specs.send_time import LEVEL, SPEC
from training.aging import seen_after, toeplitz
from training.rhythm import TO_HOUR, Past, Rhythm
from training.send_link import SendLink
from training.spread import Spread, interval

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

LEVEL_ENDS = HOURS_PER_WEEK + len(LEVEL)


@dataclass(frozen=True, slots=True)
class SendChain:
    """What was fitted.

    Args:
        aging: Of `fit_aging`, shape (24,).
    """

    rhythm: Rhythm
    aging: Floats
    link: SendLink
    spread: Spread

    def answers(self, rows: Rows) -> dict[str, Rows]:
        """Every output of the spec by name, for rows of its inputs."""
        wide = rows.astype(np.float64)
        past = Past(wide[:, :HOURS_PER_WEEK], wide[:, LEVEL_ENDS] > 0.5)
        level = wide[:, HOURS_PER_WEEK:LEVEL_ENDS]
        cohorts = self.rhythm.cohorts_of(past)
        activity = self.rhythm.shrink(past.counts, cohorts @ self.rhythm.weeks)
        attention = seen_after(activity, self.aging)
        log_odds = self.link.log_odds(attention, level)
        active = past.counts.sum(axis=1, keepdims=True)
        unsure = self.link.variance(attention, level) + self.link.slope**2 * self.doubt(
            activity, active
        )
        rest = self.link.log_odds(np.ones((len(level), 1)), level)
        low, high = interval(
            log_odds,
            self.spread.variance(active),
            np.maximum(unsure, 0.0),
            self.spread.p_gone(rest),
        )
        values = (expit(log_odds), activity, low, high, cohorts.max(axis=1, keepdims=True))
        return {
            output.name: np.asarray(value, np.float32)
            for output, value in zip(SPEC.outputs, values, strict=True)
        }

    def doubt(self, activity: Floats, active: Floats) -> Floats:
        """Variance of the log attention, shape (n, 168), by how little of a person was seen.

        A person's hours of the day as a Dirichlet draw, of as many events as were seen and the
        level above is worth.
        """
        hours = activity @ TO_HOUR
        mean, square = (hours @ moment for moment in self.moments)
        spread = np.maximum(square / mean**2 - 1.0, 0.0) / (active + self.rhythm.by_hour + 1.0)
        return np.asarray(spread @ TO_HOUR.T)

    @property
    def moments(self) -> tuple[Floats, Floats]:
        """Shape (24, 24) each: what an hour of day adds to the day after, and its square."""
        day = toeplitz(self.aging, 24) * 24
        return day, day**2
