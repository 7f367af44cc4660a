"""Where a view's sums live: definitions compiled to slots, once, for every way of computing them.

A state holds one number per *slot* and one first and last time per *channel*. A counter has up
to two slots, one for sure and one for doubtful evidence, and so has a signal's channel; after
the counters come three weeks of 168 hours: sure activity, doubtful activity, exposure. The
layout says which slots and channels an event of a given code touches.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US, HOUR_US
from features.kinds import DAY, Decayed, Rate, Streak, WeeksActive
from features.signals import CODES, Signal, Weight
from features.spec import FeatureView, counters_of, signals_of

HOURS_PER_WEEK: Final = 168
HOUR_MEMORY: Final = 35 * 24  # how long a state remembers which hours it has counted
MONDAY_SHIFT: Final = 72  # hour 0 of 1970 was a Thursday; slot 0 is Monday 00:00
POOL: Final = ""  # the key of all keys together, in views that need it; no entity is called so
MOST_CHANNELS: Final = 255
NOTHING, DOUBTFUL, SURE = 0, 1, 2  # what an event makes of its hour

Slot = tuple[Decayed, bool]  # the counter, and whether for its doubtful evidence
Channel = tuple[Signal, bool]
_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The compiled form of one feature view.

    Args:
        slots: One per counter slot, in slot order.
        half_lives_s: Shape (n_slots,), in seconds; counters, then the three weeks.
        spans: The same as plain numbers, which are faster one by one.
        channels: One per first/last time.
        plain: By event code, the slots it adds to and whether it adds its value.
        channels_of: By event code, the channels whose times it moves.
        hour_kind: By event code, NOTHING, DOUBTFUL or SURE.
        is_exposure: By event code, whether it counts in the exposure of its hour.
        hour_slots: By DOUBTFUL and SURE, the slots that such an hour adds one to.
        tracks_hours: Whether anything is read from active hours or weeks.
        renorm_us: How far a state may lag behind an event before its weights are renewed.
        digest: Of everything that decides what a slot means.
    """

    view: FeatureView
    slots: tuple[Slot, ...]
    half_lives_s: NDArray[np.float64]
    spans: tuple[float, ...]
    channels: tuple[Channel, ...]
    plain: tuple[tuple[tuple[int, bool], ...], ...]
    channels_of: tuple[tuple[int, ...], ...]
    hour_kind: NDArray[np.uint8]
    is_exposure: NDArray[np.bool_]
    hour_slots: tuple[tuple[int, ...], ...]
    tracks_hours: bool
    renorm_us: int
    digest: int

    @property
    def n_counters(self) -> int:
        """How many slots there are before the weeks begin."""
        return len(self.slots)

    @property
    def n_slots(self) -> int:
        """Counters and, if kept, three times the 168 hours of the week."""
        return len(self.half_lives_s)

    @property
    def has_rhythm(self) -> bool:
        """Whether hour-of-week activity is kept."""
        return self.n_slots > self.n_counters

    @property
    def is_person(self) -> bool:
        """Whether zone and profile belong to the key."""
        return self.view.entity == "recipient"

    @property
    def is_pooled(self) -> bool:
        """Whether a rate is shrunk to the one over all keys, so that these need a state too."""
        return any(isinstance(feature, Rate) and feature.pooled for feature in self.view.features)


@lru_cache(maxsize=16)
def layout_of(view: FeatureView) -> Layout:
    """Compile a view; the same view gives the same object.

    Raises:
        ValueError: A signal counted by the hour is not of the view's activity, or there are more
            channels than a packed state can number.
    """
    slots = tuple(
        (counter, doubtful)
        for counter in counters_of(view.features)
        for doubtful in (False, True)
        if _codes_of(counter.signal, doubtful=doubtful)
    )
    channels = tuple(
        (signal, doubtful)
        for signal in signals_of(view)
        for doubtful in (False, True)
        if _codes_of(signal, doubtful=doubtful)
    )
    _check_hourly(view, slots)
    if len(channels) > MOST_CHANNELS:
        problem = f"{view.name}: {len(channels)} first and last times, a packed state holds"
        raise ValueError(f"{problem} {MOST_CHANNELS}; ask for fewer recencies and tenures")
    spans = [counter.half_life for counter, _ in slots]
    if view.rhythm_half_life is not None:
        spans += [view.rhythm_half_life] * (3 * HOURS_PER_WEEK)
    by_hour = [(i, doubtful) for i, (c, doubtful) in enumerate(slots) if c.signal.per_hour]
    hour_slots: tuple[tuple[int, ...], ...] = (
        (),
        tuple(i for i, doubtful in by_hour if doubtful),
        tuple(i for i, doubtful in by_hour if not doubtful),
    )
    weekly = any(isinstance(feature, Streak | WeeksActive) for feature in view.features)
    shortest = min([*spans, 120 * DAY]) / DAY
    return Layout(
        view=view,
        slots=slots,
        half_lives_s=np.array(spans, dtype=np.float64),
        spans=tuple(spans),
        channels=channels,
        plain=_by_code(
            ((slot, counter.signal.weight is Weight.VALUE), _codes_of(counter.signal, doubtful=d))
            for slot, (counter, d) in enumerate(slots)
            if not counter.signal.per_hour
        ),
        channels_of=_by_code(
            (i, _codes_of(signal, doubtful=doubtful))
            for i, (signal, doubtful) in enumerate(channels)
        ),
        hour_kind=_hour_kinds(view.active),
        is_exposure=np.array(
            [view.exposed is not None and view.exposed.counts(event) for event in CODES]
        ),
        hour_slots=hour_slots,
        tracks_hours=bool(by_hour) or weekly or view.rhythm_half_life is not None,
        renorm_us=int(min(120.0, 700.0 * shortest) * DAY_US),
        digest=_digest(slots, channels, view),
    )


def local_hour(occurred_at: int, utc_offset_min: int | None) -> int:
    """Hours since 1970 on the recipient's own clock (UTC where it is unknown)."""
    return (occurred_at + (utc_offset_min or 0) * 60_000_000) // HOUR_US


def slot_of_hour(hour: int) -> int:
    """Hour of the week, Monday 00 first, of a local hour since 1970.

    >>> slot_of_hour(0)  # 1970-01-01 was a Thursday
    72
    """
    return (hour + MONDAY_SHIFT) % HOURS_PER_WEEK


def week_of_hour(hour: int) -> int:
    """Weeks since 1970, Monday first, of a local hour since 1970."""
    return (hour + MONDAY_SHIFT) // HOURS_PER_WEEK


@lru_cache(maxsize=256)  # a signal is counted with several half-lives
def _codes_of(signal: Signal, *, doubtful: bool) -> tuple[int, ...]:
    """The codes whose events fall into a signal's doubtful or into its sure part."""
    return tuple(
        code
        for code, event in enumerate(CODES)
        if signal.counts(event) and signal.doubts(event) == doubtful
    )


def _by_code(found: Iterable[tuple[_Told, tuple[int, ...]]]) -> tuple[tuple[_Told, ...], ...]:
    """Of each event code what it is to be added to, in order."""
    out: list[list[_Told]] = [[] for _ in CODES]
    for one, codes in found:
        for code in codes:
            out[code].append(one)
    return tuple(map(tuple, out))


def _hour_kinds(active: Signal) -> NDArray[np.uint8]:
    kinds = np.full(len(CODES), NOTHING, np.uint8)
    for kind in (DOUBTFUL, SURE):
        kinds[list(_codes_of(active, doubtful=kind == DOUBTFUL))] = kind
    return kinds


def _check_hourly(view: FeatureView, slots: tuple[Slot, ...]) -> None:
    for counter, _ in slots:
        signal = counter.signal
        same = (signal.types, signal.actors) == (view.active.types, view.active.actors)
        if signal.per_hour and not same:
            problem = f"{view.name}: {signal.name} is counted by the hour but is not of the same"
            raise ValueError(f"{problem} types and actors as {view.active.name}; give it those")


def _digest(slots: tuple[Slot, ...], channels: tuple[Channel, ...], view: FeatureView) -> int:
    parts = [f"{c.name}={c.half_life}:{doubtful}" for c, doubtful in slots]
    parts += [f"{signal.name}:{doubtful}" for signal, doubtful in channels]
    signals = [*(c.signal for c, _ in slots), *(s for s, _ in channels), view.active, view.exposed]
    for signal in signals:
        if signal is not None:
            parts.append(f"{signal.name}:{sorted(signal.types)}:{sorted(signal.actors)}")
            parts.append(f"{signal.weight}:{signal.per_hour}:{signal.sure_only}")
            parts.append(f"{sorted(signal.devices)}:{[d.name for d in signal.doubted_by]}")
    parts.append(f"rhythm={view.rhythm_half_life}")
    if view.entity == "recipient":  # states of before do not say who has withdrawn consent
        parts.append("consent")
    return int.from_bytes(
        hashlib.blake2b("|".join(parts).encode(), digest_size=4).digest(), "little"
    )
