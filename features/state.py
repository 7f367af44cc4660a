"""One key's state: the update rule applied to events one by one, and its packed bytes.

A state is a commutative monoid: events in any order, split and merged in any way, give the
same numbers (relative 1e-9). Only the slots in use are held: about 20 of 230 for a typical
recipient. `seen` is the log offset of the newest event inside, so that a replay is a no-op.

Failure mode: an hour of activity that becomes known more than 35 days behind the newest one
is not counted, because the state no longer remembers whether it was; the nightly rebuild from
the log counts it. Of a robot with more than 4,096 interests only the strongest are kept.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import nlargest
from itertools import islice
from typing import Any, Final, Self

from features.decay import FLOOR, NEVER_AT
from features.definitions.affinity import Affinity
from features.errors import StateUnreadableError
from features.events.schema import HOUR_US, SECOND_US, Event
from features.layout import HOUR_MEMORY, Layout, code_of, local_hour, slot_of_hour
from features.spec import key_hash

PACKED_VERSION: Final = 2
MAX_TASTES: Final = 4_096  # a person has hundreds; a robot must not make every update slow
TOTAL_KEY: Final = 0  # the affinity entry that holds the sum over all events
# version, layout digest, at, seen, newest, zone_at, zone offset, zone name length, counts of the
# rest; `seen` and `newest` stay at bytes 13 and 21: stores compare them without reading a state
_HEADER: Final = struct.Struct("<BIqqqqhBHBBHI")


@dataclass(slots=True)
class State:
    """Decayed sums as seen at `at` (microseconds), and first and last times per channel.

    `newest` is when the newest event inside occurred, `seen` the newest log offset inside.
    """

    at: int = NEVER_AT
    seen: int = 0
    newest: int = NEVER_AT
    slots: dict[int, float] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    hours: set[int] = field(default_factory=set)
    affinity: dict[int, float] = field(default_factory=dict)
    zone_at: int = NEVER_AT
    zone_offset_min: int = 0
    zone: str = ""

    def apply(self, event: Event, *, layout: Layout, affinity: Affinity, offset: int = 0) -> None:
        """Take in one event, in order or late; an offset already seen changes nothing."""
        if offset and offset <= self.seen:
            return
        self.seen = max(self.seen, offset)
        self.newest = max(self.newest, event.occurred_at)
        code = code_of(event)
        self._reach(event.occurred_at, layout, affinity)
        for slot, by_value in layout.plain[code]:
            amount = event.value if by_value else 1.0
            if not math.isnan(amount):
                self._add(slot, event.occurred_at, amount, layout)
        for channel in layout.channels_of[code]:
            known = self.last.get(channel, NEVER_AT)
            self.last[channel] = max(known, event.occurred_at)
            self.first[channel] = min(self.first.get(channel, -NEVER_AT), event.occurred_at)
        if layout.is_active[code]:
            self._count_hour(local_hour(event.occurred_at, event.utc_offset_min), layout)
            self._add_affinity(event, affinity)
        if event.utc_offset_min is not None:
            self._set_zone(event.occurred_at, event.utc_offset_min, event.timezone)

    def merge(self, other: Self, *, layout: Layout, affinity: Affinity) -> None:
        """Add a state that saw other events; hours counted on both sides count once."""
        if other.at == NEVER_AT:
            return
        both = self.hours & other.hours
        self._reach(max(self.at, other.at), layout, affinity)
        age_us = other.at - self.at
        for slot, value in other.slots.items():
            added = value * _growth(age_us, layout.half_lives_s[slot])
            self.slots[slot] = self.slots.get(slot, 0.0) + added
        for key, value in other.affinity.items():
            added = value * _growth(age_us, affinity.half_life)
            self.affinity[key] = self.affinity.get(key, 0.0) + added
        for hour in both:
            self._add_hour(hour, -1.0, layout)
        self.hours |= other.hours
        self._forget_hours()
        for channel, at in other.last.items():
            self.last[channel] = max(self.last.get(channel, NEVER_AT), at)
        for channel, at in other.first.items():
            self.first[channel] = min(self.first.get(channel, -NEVER_AT), at)
        if other.zone_at != NEVER_AT:
            self._set_zone(other.zone_at, other.zone_offset_min, other.zone)
        self.seen = max(self.seen, other.seen)
        self.newest = max(self.newest, other.newest)

    def affinity_at(self, key: int, at: int, affinity: Affinity) -> float:
        """What is left at a later moment of the interest in one topic or item."""
        value = self.affinity.get(key, 0.0) * _growth(self.at - at, affinity.half_life)
        return value if value >= FLOOR else 0.0

    def pack(self, layout: Layout) -> bytes:
        """The state as bytes; `unpack` under the same layout gives it back."""
        slots = {slot: v for slot, v in sorted(self.slots.items()) if abs(v) >= FLOOR}
        tastes = {key: v for key, v in sorted(self._kept_tastes()) if v >= FLOOR}
        last, first = dict(sorted(self.last.items())), dict(sorted(self.first.items()))
        zone = self.zone.encode()[:255]
        sizes = len(slots), len(last), len(first), len(self.hours), len(tastes)
        head = _HEADER.pack(
            PACKED_VERSION, layout.digest, self.at, self.seen, self.newest,
            self.zone_at, self.zone_offset_min, len(zone), *sizes,
        )  # fmt: skip
        body = _body_of(*sizes).pack(
            *slots, *slots.values(), *last, *last.values(), *first, *first.values(),
            *sorted(self.hours), *tastes, *tastes.values(),
        )  # fmt: skip
        return head + zone + body

    @classmethod
    def unpack(cls, blob: bytes, layout: Layout) -> Self:
        """Read packed bytes.

        Raises:
            StateUnreadableError: They were written by another version, under other feature
                definitions, or are cut short.
        """
        remedy = "run `opportune materialize` to rebuild the online store from the log"
        if len(blob) < _HEADER.size:
            raise StateUnreadableError(f"{len(blob)} bytes are too few", remedy)
        version, digest, at, seen, newest, *more = _HEADER.unpack_from(blob)
        zone_at, zone_offset, n_zone, *sizes = more
        if version != PACKED_VERSION or digest != layout.digest:
            problem = f"version {version}, layout {digest:08x} instead of {layout.digest:08x}"
            raise StateUnreadableError(problem, remedy)
        start, body = _HEADER.size + n_zone, _body_of(*sizes)
        if len(blob) != start + body.size:
            problem = f"{len(blob)} bytes instead of {start + body.size}"
            raise StateUnreadableError(problem, remedy)
        try:
            zone = blob[_HEADER.size : start].decode()
        except UnicodeDecodeError:
            raise StateUnreadableError("the zone is not text", remedy) from None
        numbers = iter(body.unpack_from(blob, start))
        n_slots, n_last, n_first, n_hours, n_tastes = sizes
        state = cls(
            at=at,
            seen=seen,
            newest=newest,
            slots=_paired(numbers, n_slots),
            last=_paired(numbers, n_last),
            first=_paired(numbers, n_first),
            hours=set(islice(numbers, n_hours)),
            affinity=_paired(numbers, n_tastes),
            zone_at=zone_at,
            zone_offset_min=zone_offset,
            zone=zone,
        )
        n_channels = len(layout.channels)
        furthest = max(state.slots, default=0), max(*state.last, *state.first, 0, 0)
        if furthest[0] >= layout.n_slots or furthest[1] >= n_channels:
            raise StateUnreadableError("a slot or channel that there is not", remedy)
        return state

    def _kept_tastes(self) -> Iterable[tuple[int, float]]:
        """All interests, or of a robot's many thousand the strongest and the sum over all."""
        if len(self.affinity) <= MAX_TASTES:
            return self.affinity.items()
        strongest = nlargest(MAX_TASTES, self.affinity.items(), key=lambda taste: taste[1])
        return {TOTAL_KEY: self.affinity.get(TOTAL_KEY, 0.0), **dict(strongest)}.items()

    def _reach(self, at: int, layout: Layout, affinity: Affinity) -> None:
        """Renew the weights when an event lies far after the state's own time."""
        if self.at == NEVER_AT:
            self.at = at
            return
        if at - self.at <= layout.renorm_us:
            return
        age_us = self.at - at
        moved = {s: v * _growth(age_us, layout.half_lives_s[s]) for s, v in self.slots.items()}
        self.slots = {slot: value for slot, value in moved.items() if abs(value) >= FLOOR}
        fade = _growth(age_us, affinity.half_life)
        self.affinity = {key: v * fade for key, v in self.affinity.items() if v * fade >= FLOOR}
        self.at = at

    def _add(self, slot: int, at: int, amount: float, layout: Layout) -> None:
        added = amount * _growth(at - self.at, layout.half_lives_s[slot])
        self.slots[slot] = self.slots.get(slot, 0.0) + added

    def _count_hour(self, hour: int, layout: Layout) -> None:
        if hour in self.hours or (self.hours and hour <= max(self.hours) - HOUR_MEMORY):
            return
        self.hours.add(hour)
        self._forget_hours()
        self._add_hour(hour, 1.0, layout)

    def _add_hour(self, hour: int, amount: float, layout: Layout) -> None:
        """An active hour is dated by the local clock, so that which event opened it is one."""
        for slot in layout.active_slots.tolist():
            self._add(slot, hour * HOUR_US, amount, layout)
        if layout.has_rhythm:
            slot = layout.n_counters + slot_of_hour(hour)
            self._add(slot, hour * HOUR_US, amount, layout)

    def _forget_hours(self) -> None:
        newest = max(self.hours, default=0)
        self.hours = {hour for hour in self.hours if hour > newest - HOUR_MEMORY}

    def _add_affinity(self, event: Event, affinity: Affinity) -> None:
        amount = affinity.weights.get(event.type, 0.0)
        if amount == 0.0 or not (event.topics or event.content_id):
            return
        amount *= _growth(event.occurred_at - self.at, affinity.half_life)
        for key in affinity_keys(event.topics, event.content_id):
            self.affinity[key] = self.affinity.get(key, 0.0) + amount

    def _set_zone(self, at: int, offset_min: int, zone: str) -> None:
        newest = max((self.zone_at, self.zone_offset_min, self.zone), (at, offset_min, zone))
        self.zone_at, self.zone_offset_min, self.zone = newest


@lru_cache(maxsize=4_096)
def _body_of(n_slots: int, n_last: int, n_first: int, n_hours: int, n_tastes: int) -> struct.Struct:
    """What follows the header and the zone: keys, then values, of each map in turn."""
    return struct.Struct(
        f"<{n_slots}H{n_slots}d{n_last}B{n_last}q{n_first}B{n_first}q{n_hours}i{n_tastes}I{n_tastes}d"
    )


def _paired(numbers: Iterator[Any], count: int) -> dict[int, Any]:
    keys = list(islice(numbers, count))
    return dict(zip(keys, islice(numbers, count), strict=True))


def seen_by(blob: bytes) -> int:
    """The newest log offset inside packed bytes, whatever layout they were written under."""
    return int(_HEADER.unpack_from(blob)[3])


def newest_by(blob: bytes) -> int:
    """When the newest event inside packed bytes occurred (microseconds)."""
    return int(_HEADER.unpack_from(blob)[4])


def affinity_keys(topics: tuple[str, ...], content_id: str) -> list[int]:
    """The entries of an affinity map that one event adds to: all, each topic, the item."""
    keys = [TOTAL_KEY, *(key_hash("topic", topic) for topic in topics)]
    return [*keys, key_hash("content", content_id)] if content_id else keys


def _growth(age_us: int, half_life_s: float) -> float:
    return math.exp2(age_us / SECOND_US / half_life_s)
