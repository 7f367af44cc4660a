"""Where a view's sums live: definitions compiled to slots, once, for every way of computing them.

A state holds one number per *slot* (a decayed counter; then 168 for the hour-of-week rhythm)
and one first and last time per *channel* (a signal whose times are asked for). The layout
says which slots and channels an event of a given type and actor touches.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US, HOUR_US, Actor, Event, EventType
from features.spec import (
    DAY,
    Decayed,
    FeatureView,
    Signal,
    Weight,
    counters_of,
    signals_of,
)

HOURS_PER_WEEK: Final = 168
N_ACTORS: Final = len(Actor)
TYPE_CODE: Final = {kind: index * N_ACTORS for index, kind in enumerate(EventType)}
ACTOR_CODE: Final = {actor: index for index, actor in enumerate(Actor)}
N_CODES: Final = len(EventType) * N_ACTORS
HOUR_MEMORY: Final = 35 * 24  # how long a state remembers which hours it has counted
MONDAY_SHIFT: Final = 72  # hour 0 of 1970 was a Thursday; slot 0 is Monday 00:00


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The compiled form of one feature view.

    Args:
        counters: One per slot, in slot order.
        half_lives_s: Shape (n_slots + 168 if there is a rhythm,), in seconds.
        channels: One per first/last time.
        plain: By event code, the slots it adds to and whether it adds its value.
        channels_of: By event code, the channels whose times it moves.
        is_active: By event code, whether it makes its hour an active hour.
        active_slots: The slots that an active hour adds one to.
        renorm_us: How far a state may lag behind an event before its weights are renewed.
        digest: Of everything that decides what a slot means.
    """

    view: FeatureView
    counters: tuple[Decayed, ...]
    half_lives_s: NDArray[np.float64]
    channels: tuple[Signal, ...]
    plain: tuple[tuple[tuple[int, bool], ...], ...]
    channels_of: tuple[tuple[int, ...], ...]
    is_active: NDArray[np.bool_]
    active_slots: NDArray[np.int64]
    renorm_us: int
    digest: int

    @property
    def n_counters(self) -> int:
        """How many slots there are before the rhythm begins."""
        return len(self.counters)

    @property
    def n_slots(self) -> int:
        """Counters and, if kept, the 168 hours of the rhythm."""
        return len(self.half_lives_s)

    @property
    def has_rhythm(self) -> bool:
        """Whether hour-of-week activity is kept."""
        return self.n_slots > self.n_counters


@lru_cache(maxsize=16)
def layout_of(view: FeatureView) -> Layout:
    """Compile a view; the same view gives the same object."""
    counters = counters_of(view.features)
    channels = signals_of(view.features)
    spans = [counter.half_life for counter in counters]
    if view.rhythm_half_life is not None:
        spans += [view.rhythm_half_life] * HOURS_PER_WEEK
    codes = [(kind, actor) for kind in EventType for actor in Actor]
    shortest = min([*spans, 120 * DAY]) / DAY
    return Layout(
        view=view,
        counters=counters,
        half_lives_s=np.array(spans, dtype=np.float64),
        channels=channels,
        plain=tuple(
            tuple(
                (slot, counter.signal.weight is Weight.VALUE)
                for slot, counter in enumerate(counters)
                if _hits(counter.signal, kind, actor) and not counter.signal.per_hour
            )
            for kind, actor in codes
        ),
        channels_of=tuple(
            tuple(i for i, signal in enumerate(channels) if _hits(signal, kind, actor))
            for kind, actor in codes
        ),
        is_active=np.array([_hits(view.active, kind, actor) for kind, actor in codes]),
        active_slots=np.array(
            [slot for slot, counter in enumerate(counters) if counter.signal.per_hour],
            dtype=np.int64,
        ),
        renorm_us=int(min(120.0, 700.0 * shortest) * DAY_US),
        digest=_digest(counters, channels, view),
    )


def code_of(event: Event) -> int:
    """The number of an event's type and actor."""
    return TYPE_CODE[event.type] + ACTOR_CODE[event.actor]


def local_hour(occurred_at: int, utc_offset_min: int | None) -> int:
    """Hours since 1970 on the recipient's own clock (UTC where it is unknown)."""
    return (occurred_at + (utc_offset_min or 0) * 60_000_000) // HOUR_US


def slot_of_hour(hour: int) -> int:
    """Hour of the week, Monday 00 first, of a local hour since 1970.

    >>> slot_of_hour(0)  # 1970-01-01 was a Thursday
    72
    """
    return (hour + MONDAY_SHIFT) % HOURS_PER_WEEK


def _hits(signal: Signal, kind: EventType, actor: Actor) -> bool:
    return kind in signal.types and actor in signal.actors


def _digest(counters: tuple[Decayed, ...], channels: tuple[Signal, ...], view: FeatureView) -> int:
    parts = [f"{c.name}={c.half_life}" for c in counters]
    for signal in (*(c.signal for c in counters), *channels, view.active):
        parts.append(f"{signal.name}:{sorted(signal.types)}:{sorted(signal.actors)}")
        parts.append(f"{signal.weight}:{signal.per_hour}")
    parts.append(f"rhythm={view.rhythm_half_life}")
    return int.from_bytes(
        hashlib.blake2b("|".join(parts).encode(), digest_size=4).digest(), "little"
    )
