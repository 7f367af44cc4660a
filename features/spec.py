"""Views of features: what one entity's row holds, and what has to be counted for it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from features.kinds import (
    Decayed,
    Feature,
    MeanGap,
    Overdue,
    Pace,
    Pending,
    Rate,
    Recency,
    Streak,
    Tenure,
    Velocity,
    WeeksActive,
)
from features.signals import Signal


@dataclass(frozen=True, slots=True, eq=False)  # a view is itself: compiled forms are kept by it
class FeatureView:
    """The features of one entity, and the half-life of its hour-of-week rhythm if it has one.

    Args:
        active: What makes an hour an active one.
        exposed: What the rhythm's exposure counts; needed with a rhythm.
    """

    name: str
    entity: str
    ttl_s: float
    features: tuple[Feature, ...]
    active: Signal
    rhythm_half_life: float | None = None
    exposed: Signal | None = None

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
            case Pace(counter=counter) | MeanGap(total=counter) | Overdue(total=counter):
                used[counter] = None
            case Rate(top=first, bottom=second) | Velocity(fast=first, slow=second):
                used |= {first: None, second: None}
            case Recency() | Tenure() | Pending() | Streak() | WeeksActive():
                pass
    return tuple(used)


def signals_of(view: FeatureView) -> tuple[Signal, ...]:
    """Every signal whose first and last times are needed, once; those that doubt come last."""
    used: dict[Signal, None] = {}
    for feature in view.features:
        match feature:
            case Recency(signal=signal) | Tenure(signal=signal):
                used[signal] = None
            case MeanGap(total=total) | Overdue(total=total):
                used[total.signal] = None
            case Pending(begun=begun, finished=finished):
                used |= {begun: None, finished: None}
            case Decayed() | Pace() | Rate() | Velocity() | Streak() | WeeksActive():
                pass
    counted = [counter.signal for counter in counters_of(view.features)]
    for signal in (*used, *counted, view.active):
        used |= dict.fromkeys(signal.doubted_by)
    return tuple(used)


@lru_cache(maxsize=65_536)
def key_hash(kind: str, text: str) -> int:
    """A stable 32-bit number of a topic or content id, for sparse maps in a state.

    Failure mode: two of 10,000 texts share a number with probability 1 %; they would then
    share one affinity.
    """
    digest = hashlib.blake2b(f"{kind}\x1f{text}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
