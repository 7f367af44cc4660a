"""The kinds of features: what is read from the decayed sums, times and weeks of signals.

Names are built from the parts, never typed, so that a name always says what was computed. A
feature that doubt has voided reads like one without events.
"""

import math
from dataclasses import dataclass
from typing import Final

from features.signals import Signal, Weight

HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR
FOREVER: Final = math.inf
MOST_WEEKS: Final = 64  # a state remembers in which of the last weeks there was activity


@dataclass(frozen=True, slots=True)
class Decayed:
    """How much of a signal, old events fading with the half-life (seconds)."""

    signal: Signal
    half_life: float

    @property
    def name(self) -> str:
        """Signal and half-life."""
        return f"{self.signal.name}_{half_life_name(self.half_life)}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        unit = "events, decayed"
        if self.signal.weight is Weight.VALUE:
            unit = "currency, decayed"
        elif self.signal.per_hour:
            unit = "active hours, decayed"
        span = "-inf .. inf" if self.signal.weight is Weight.VALUE else "0 .. inf"
        fading = "all of them" if math.isinf(self.half_life) else "half gone after "
        fading += "" if math.isinf(self.half_life) else shown_span(self.half_life)
        return f"{self.signal.name}, {fading}", unit, span


@dataclass(frozen=True, slots=True)
class Pace:
    """Events a week, as a decayed counter estimates it: the counter over its mean life."""

    counter: Decayed  # its half-life is finite

    @property
    def name(self) -> str:
        """Signal and half-life."""
        return f"{self.counter.signal.name}_per_week_{half_life_name(self.counter.half_life)}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        text = f"{self.counter.signal.name} a week, over about "
        return text + shown_span(self.counter.half_life), "events a week", "0 .. inf"


@dataclass(frozen=True, slots=True)
class Rate:
    """One decayed counter per another, shrunk so that one click on one mail is not 100 %.

    With `pooled` the prior is empirical: the same rate over all keys of the entity at that
    moment, itself shrunk to `prior`.
    """

    top: Decayed
    bottom: Decayed
    prior: float
    prior_weight: float
    pooled: bool = False

    @property
    def name(self) -> str:
        """Both signals and the half-life of the lower one."""
        span = half_life_name(self.bottom.half_life)
        return f"{self.top.signal.name}_per_{self.bottom.signal.name}_{span}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        prior = "the rate over all" if self.pooled else f"{self.prior:g}"
        text = f"{self.top.name} / {self.bottom.name}, shrunk to {prior} "
        return text + f"by {self.prior_weight:g} events", "ratio", "0 .. inf"


@dataclass(frozen=True, slots=True)
class Recency:
    """Days since the newest event of a signal; missing when there was none."""

    signal: Signal

    @property
    def name(self) -> str:
        """The signal."""
        return f"days_since_{self.signal.name}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        return f"time since the newest {self.signal.name}", "days", "0 .. inf, or missing"


@dataclass(frozen=True, slots=True)
class Tenure:
    """Days since the oldest event of a signal; missing when there was none."""

    signal: Signal

    @property
    def name(self) -> str:
        """The signal."""
        return f"days_since_first_{self.signal.name}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        return f"time since the oldest {self.signal.name}", "days", "0 .. inf, or missing"


@dataclass(frozen=True, slots=True)
class MeanGap:
    """Mean days between events: from the oldest to the newest over the plain count less one."""

    total: Decayed  # its half-life is FOREVER

    @property
    def name(self) -> str:
        """The signal."""
        return f"mean_days_between_{self.total.signal.name}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        text = f"mean time between {self.total.signal.name}; missing below two events"
        return text, "days", "0 .. inf, or missing"


@dataclass(frozen=True, slots=True)
class Overdue:
    """Days since the newest event over the mean days between events: at one the next is due.

    The mean counts as six hours at least; missing below two events.
    """

    total: Decayed  # its half-life is FOREVER

    @property
    def name(self) -> str:
        """The signal."""
        return f"{self.total.signal.name}_overdue"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        text = f"time since the newest {self.total.signal.name} over the mean time between them"
        return text, "mean gaps", "0 .. inf, or missing"


@dataclass(frozen=True, slots=True)
class Velocity:
    """Speeding up or slowing down: log of the fast counter's daily rate over the slow one's.

    Trees that have both counters gain nothing from it; explanations and linear fallbacks do.
    """

    fast: Decayed
    slow: Decayed

    @property
    def name(self) -> str:
        """Signal and both half-lives."""
        spans = half_life_name(self.fast.half_life), half_life_name(self.slow.half_life)
        return f"{self.fast.signal.name}_velocity_{spans[0]}_{spans[1]}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        return (
            f"log of the rate of {self.fast.name} over {self.slow.name}",
            "log ratio",
            "-15 .. 15",
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """Begun but not finished: 1 when `begun` is newer than `finished` and of a certain age."""

    label: str
    begun: Signal
    finished: Signal
    days: float
    after_days: float = 0.0

    @property
    def name(self) -> str:
        """What is pending."""
        return self.label

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        least = f"{shown_span(self.after_days * DAY)} to " if self.after_days else "at most "
        text = f"the newest {self.begun.name} is {least}{self.days:g} days old"
        return f"{text} and no {self.finished.name} since", "flag", "0 or 1"


@dataclass(frozen=True, slots=True)
class Streak:
    """Weeks in a row with activity, up to this week or the last; 0 when neither had any."""

    name: str = "active_weeks_in_a_row"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        text = "weeks (Monday to Sunday, local clock) in a row with activity, to now or last week"
        return text, "weeks", f"0 .. {MOST_WEEKS}"


@dataclass(frozen=True, slots=True)
class WeeksActive:
    """In how many of the last weeks there was activity; this week is one of them."""

    weeks: int  # 2 .. MOST_WEEKS

    @property
    def name(self) -> str:
        """How many weeks back."""
        return f"active_weeks_of_{self.weeks}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        return f"weeks with activity among the last {self.weeks}", "weeks", f"0 .. {self.weeks}"


Feature = (
    Decayed
    | Pace
    | Rate
    | Recency
    | Tenure
    | MeanGap
    | Overdue
    | Velocity
    | Pending
    | Streak
    | WeeksActive
)


def half_life_name(half_life: float) -> str:
    """The part of a feature's name that tells its half-life.

    >>> half_life_name(7 * DAY), half_life_name(6 * HOUR), half_life_name(FOREVER)
    ('hl7d', 'hl6h', 'total')
    """
    if math.isinf(half_life):
        return "total"
    return f"hl{half_life / DAY:g}d" if half_life >= DAY else f"hl{half_life / HOUR:g}h"


def shown_span(half_life: float) -> str:
    """A half-life in words."""
    if math.isinf(half_life):
        return "no time (plain total)"
    count, unit = (half_life / DAY, "day") if half_life >= DAY else (half_life / HOUR, "hour")
    return f"{count:g} {unit}" + ("" if count == 1 else "s")
