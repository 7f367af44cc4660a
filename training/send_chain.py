"""The whole send-time estimator: from a person's counts to chances, activity and intervals.

`send_graph` repeats it in ONNX, operation by operation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.evened import toeplitz
from models.spec import HOURS_PER_WEEK
from models.specs.send_time import LEVEL, SPEC
from training.aging import seen_after
from training.rhythm import TO_HOUR, Past, Rhythm
from training.send_link import SendLink
from training.spread import Spread, interval

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

LEVEL_ENDS = HOURS_PER_WEEK + len(LEVEL)
FLAGS = (LEVEL_ENDS, LEVEL_ENDS + 1)  # is the clock the person's own, do opens say nothing


@dataclass(frozen=True, slots=True)
class Side:
    """How attention becomes a chance, and how people differ in it.

    Args:
        link: Over all level features; those it does not read have no weight.
    """

    link: SendLink
    spread: Spread

    def told(
        self, attention: Floats, level: Floats, active: Floats, doubt: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Chances and the ends of their intervals, shape (n, 168) each.

        Args:
            attention: Of `aging.seen_after`, shape (n, 168).
            level: Level features, shape (n, m).
            active: Active hours, shape (n, 1).
            doubt: Variance of the log attention, shape (n, 168).
        """
        link = self.link
        log_odds = link.log_odds(attention, level)
        unsure = link.variance(attention, level) + link.slope**2 * doubt
        rest = link.log_odds(np.ones((len(level), 1)), level)
        gone = self.spread.p_gone(rest)
        low, high = interval(log_odds, self.spread.variance(active), np.maximum(unsure, 0.0), gone)
        return expit(log_odds), low, high


@dataclass(frozen=True, slots=True)
class SendChain:
    """What was fitted.

    Args:
        aging: Of `fit_aging`, shape (24,).
        seen, hidden: For people whose opens are seen, and for those whose opens say nothing.
    """

    rhythm: Rhythm
    aging: Floats
    seen: Side
    hidden: Side

    def answers(self, rows: Rows) -> dict[str, Rows]:
        """Every output of the spec by name, for rows of its inputs."""
        wide = rows.astype(np.float64)
        is_local, is_hidden = (wide[:, flag] > 0.5 for flag in FLAGS)
        past = Past(wide[:, :HOURS_PER_WEEK], is_local)
        level = wide[:, HOURS_PER_WEEK:LEVEL_ENDS]
        cohorts = self.rhythm.cohorts_of(past)
        activity = self.rhythm.shrink(past.counts, cohorts @ self.rhythm.weeks)
        attention = seen_after(activity, self.aging)
        active = past.counts.sum(axis=1, keepdims=True)
        doubt = self.doubt(activity, active)
        sides = [side.told(attention, level, active, doubt) for side in (self.hidden, self.seen)]
        p, low, high = (np.where(is_hidden[:, None], *both) for both in zip(*sides, strict=True))
        values = (p, activity, low, high, cohorts.max(axis=1, keepdims=True))
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
