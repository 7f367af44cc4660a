"""How far back each input remembers: what fills with a young log drifts by the calendar alone.

A counter with a half-life of 90 days has reached 80 % of its level after 30 weeks and goes on
rising; totals and tenures never end. Such a drift is one of the log's age and says nothing of
people. An input is asked only where the log was five half-lives old when the reference was made.
"""

from math import inf
from typing import Final

from features.definitions import AFFINITY
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.cohort import TASTES
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.kinds import (
    DAY,
    Decayed,
    Feature,
    MeanGap,
    Overdue,
    Pace,
    Rate,
    Tenure,
    Velocity,
    WeeksActive,
)
from training.monitoring.labelled import ACTIVE_HOURS

SETTLED: Final = 5.0  # half-lives, after which 97 % of the level is reached
_SHARES: Final = ("topic_affinity_share", "n_topics")  # of an interest that may still fill


def memory_days(feature: Feature) -> float:
    """The half-life of the slowest part of a feature, in days; zero where nothing adds up."""
    match feature:
        case (
            Decayed(half_life=half_life)
            | Rate(bottom=Decayed(half_life=half_life))
            | Pace(counter=Decayed(half_life=half_life))
            | Velocity(slow=Decayed(half_life=half_life))
        ):
            return half_life / DAY
        case WeeksActive(weeks=weeks):
            return weeks * 7 / SETTLED  # a window forgets all at once
        case Tenure() | MeanGap() | Overdue():
            return inf
        case _:
            return 0.0


def is_settled(column: str, *, log_days: float) -> bool:
    """Whether an input no longer fills with the log; what is no feature, as the score, is."""
    return SETTLED * _MEMORY.get(column, 0.0) <= log_days


_MEMORY: Final = {
    ACTIVE_HOURS: (RECIPIENT.rhythm_half_life or 0.0) / DAY,
    **{name: AFFINITY.half_life / DAY for name, _ in AFFINITY_FEATURES if name not in _SHARES},
    **{name: TASTES.half_life / DAY for name, _ in COHORT_FEATURES},
    **{feature.name: memory_days(feature) for feature in RECIPIENT.features},
    **{f"content_{feature.name}": memory_days(feature) for feature in CONTENT.features},
}
