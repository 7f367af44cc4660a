"""What a feature is: signals, the kinds of features over them, and views of them.

A *signal* picks events; a *feature* is read from the decayed sums and last times of signals.
Names are built from the parts, never typed, so that a name always says what was computed.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from features.events.schema import Actor, EventType

HOUR: Final = 3_600.0
DAY: Final = 24 * HOUR
FOREVER: Final = math.inf
HUMAN: Final = frozenset({Actor.HUMAN})
ANYONE: Final = frozenset(Actor)


class Weight(StrEnum):
    """What one event adds to a signal's sums."""

    ONE = "one"
    VALUE = "value"  # the event's value; an event without one adds nothing


@dataclass(frozen=True, slots=True)
class Signal:
    """A kind of event that is counted.

    With `per_hour` any number of events within one hour of the local clock counts once, which
    turns page views, order lines and double-fired events into *active hours*.
    """

    name: str
    types: frozenset[EventType]
    actors: frozenset[Actor] = HUMAN
    weight: Weight = Weight.ONE
    per_hour: bool = False


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
        return f"{self.signal.name}, half gone after {shown_span(self.half_life)}", unit, "0 .. inf"


@dataclass(frozen=True, slots=True)
class Rate:
    """One decayed counter per another, shrunk so that one click on one mail is not 100 %."""

    top: Decayed
    bottom: Decayed
    prior: float
    prior_weight: float

    @property
    def name(self) -> str:
        """Both signals and the half-life of the lower one."""
        span = half_life_name(self.bottom.half_life)
        return f"{self.top.signal.name}_per_{self.bottom.signal.name}_{span}"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        text = f"{self.top.name} / {self.bottom.name}, shrunk to {self.prior:g} "
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
        return f"log of the rate of {self.fast.name} over {self.slow.name}", "log ratio", "-9 .. 9"


@dataclass(frozen=True, slots=True)
class Pending:
    """Begun but not finished: 1 when `begun` is newer than `finished` and at most `days` old."""

    begun: Signal
    finished: Signal
    days: float

    @property
    def name(self) -> str:
        """What is pending."""
        return f"{self.begun.name}_pending"

    def describe(self) -> tuple[str, str, str]:
        """Meaning, unit and range for the documentation."""
        text = f"{self.begun.name} within {self.days:g} days and no {self.finished.name} since"
        return text, "flag", "0 or 1"


Feature = Decayed | Rate | Recency | Tenure | MeanGap | Velocity | Pending


@dataclass(frozen=True, slots=True, eq=False)  # a view is itself: compiled forms are kept by it
class FeatureView:
    """The features of one entity, and the half-life of its hour-of-week rhythm if it has one."""

    name: str
    entity: str
    ttl_s: float
    features: tuple[Feature, ...]
    active: Signal
    rhythm_half_life: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in order."""
        return tuple(feature.name for feature in self.features)


def counters_of(features: Iterable[Feature]) -> tuple[Decayed, ...]:
    """Every decayed counter that the features are read from, once, in order of first use."""
    used: dict[Decayed, None] = {}
    for feature in features:
        match feature:
            case Decayed():
                used[feature] = None
            case Rate(top=first, bottom=second) | Velocity(fast=first, slow=second):
                used |= {first: None, second: None}
            case MeanGap(total=total):
                used[total] = None
            case Recency() | Tenure() | Pending():
                pass
    return tuple(used)


def signals_of(features: Iterable[Feature]) -> tuple[Signal, ...]:
    """Every signal whose first and last times are needed, once, in order of first use."""
    used: dict[Signal, None] = {}
    for feature in features:
        match feature:
            case Recency(signal=signal) | Tenure(signal=signal):
                used[signal] = None
            case MeanGap(total=total):
                used[total.signal] = None
            case Pending(begun=begun, finished=finished):
                used |= {begun: None, finished: None}
            case Decayed() | Rate() | Velocity():
                pass
    return tuple(used)


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
    if half_life >= DAY:
        return f"{half_life / DAY:g} days"
    return f"{half_life / HOUR:g} hours"


@lru_cache(maxsize=65_536)
def key_hash(kind: str, text: str) -> int:
    """A stable 32-bit number of a topic or content id, for sparse maps in a state.

    Failure mode: two of 10,000 texts share a number with probability 1 %; they would then
    share one affinity.
    """
    digest = hashlib.blake2b(f"{kind}\x1f{text}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
