"""One key's state: the update rule applied to events one by one.

A state is a commutative monoid: events in any order, split and merged in any way, give the
same numbers (relative 1e-9). Only the slots in use are held. `seen` is the log offset of the
newest event inside, so that a replay is a no-op. Its bytes are made and read in `packing`.

Failure modes: an hour of activity that becomes known more than 35 days behind the newest one
is not counted, because the state no longer remembers whether it was. An event that changes the
past (`relabelled`, `erased`) is not applied here: `corrections` folds the history again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from features.decay import FLOOR, NEVER_AT
from features.definitions.affinity import Affinity
from features.definitions.profile import (
    ATTRIBUTES,
    CONSENT,
    CONSENTS,
    MAX_ATTRIBUTE_CHARS,
    consent_word,
)
from features.events.schema import HOUR_US, SECOND_US, Event
from features.kinds import MOST_WEEKS
from features.layout import (
    DOUBTFUL,
    HOUR_MEMORY,
    HOURS_PER_WEEK,
    Layout,
    local_hour,
    slot_of_hour,
    week_of_hour,
)
from features.signals import code_of
from features.spec import key_hash

TOTAL_KEY: Final = 0  # the affinity entry that holds the sum over all events
_ALL_WEEKS: Final = 2**MOST_WEEKS - 1

Weeks = tuple[int, int]  # bit i is set when week (newest - i) had activity; the newest week


@dataclass(slots=True)
class State:
    """Decayed sums as seen at `at` (microseconds), and first and last times per channel.

    `newest` is when the newest event inside occurred, `seen` the newest log offset inside.
    `hours` says of each remembered active hour whether it is DOUBTFUL or SURE; `weeks` holds
    the doubtful and the sure ones; `profile` each attribute's time and text.
    """

    at: int = NEVER_AT
    seen: int = 0
    newest: int = NEVER_AT
    erased_at: int = NEVER_AT
    slots: dict[int, float] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    hours: dict[int, int] = field(default_factory=dict)
    weeks: tuple[Weeks, Weeks] = ((0, 0), (0, 0))
    affinity: dict[int, float] = field(default_factory=dict)
    zone_at: int = NEVER_AT
    zone_offset_min: int = 0
    zone: str = ""
    profile: dict[int, tuple[int, str]] = field(default_factory=dict)
    newest_hour: int = NEVER_AT  # of `hours`

    def apply(self, event: Event, *, layout: Layout, affinity: Affinity, offset: int = 0) -> None:
        """Take in one event, in order or late; an offset already seen changes nothing."""
        if offset and offset <= self.seen:
            return
        self.seen = max(self.seen, offset)
        at = event.occurred_at
        if at <= self.erased_at:
            return
        self.newest = max(self.newest, at)
        code = code_of(event)
        self._reach(at, layout, affinity)
        self._count(event, code, 1.0, layout)
        self._widen(event, code, layout)
        kind = int(layout.hour_kind[code])
        if kind:
            self._add_affinity(event, affinity)
        if layout.tracks_hours:
            self._place(event, code, kind, layout)
        if event.utc_offset_min is not None and layout.is_person:
            self._set_zone(at, event.utc_offset_min, event.timezone)
        if event.properties and layout.is_person:
            self._set_profile(at, event.properties)
        if event.type in CONSENTS and layout.is_person:
            self._set_word(CONSENT, at, consent_word(event.type, event.properties))

    def merge(self, other: Self, *, layout: Layout, affinity: Affinity) -> None:
        """Add a state that saw other events; hours counted on both sides count once."""
        self.seen = max(self.seen, other.seen)
        self.newest = max(self.newest, other.newest)
        if other.at == NEVER_AT:
            return
        self._reach(max(self.at, other.at), layout, affinity)
        age_us = other.at - self.at
        for slot, value in other.slots.items():
            added = value * growth(age_us, layout.spans[slot])
            self.slots[slot] = self.slots.get(slot, 0.0) + added
        for key, value in other.affinity.items():
            added = value * growth(age_us, affinity.half_life)
            self.affinity[key] = self.affinity.get(key, 0.0) + added
        self._merge_hours(other, layout)
        for channel, at in other.last.items():
            self.last[channel] = max(self.last.get(channel, NEVER_AT), at)
        for channel, at in other.first.items():
            self.first[channel] = min(self.first.get(channel, -NEVER_AT), at)
        if other.zone_at != NEVER_AT:
            self._set_zone(other.zone_at, other.zone_offset_min, other.zone)
        for attribute, told in other.profile.items():
            self.profile[attribute] = max(self.profile.get(attribute, told), told)

    def _merge_hours(self, other: Self, layout: Layout) -> None:
        for hour in self.hours.keys() & other.hours.keys():  # the surer of the two stays
            self._add_hour(hour, min(self.hours[hour], other.hours[hour]), -1.0, layout)
        for hour, kind in other.hours.items():
            self.hours[hour] = max(self.hours.get(hour, 0), kind)
        self.newest_hour = max(self.newest_hour, other.newest_hour)
        self._forget_hours()
        self.weeks = (
            _together(self.weeks[0], other.weeks[0]),
            _together(self.weeks[1], other.weeks[1]),
        )

    def affinity_at(self, key: int, at: int, affinity: Affinity) -> float:
        """What is left at a later moment of the interest in one topic or item."""
        return self.affinities_at([key], at, affinity)[0]

    def affinities_at(self, keys: Sequence[int], at: int, affinity: Affinity) -> list[float]:
        """The same of many, in their order."""
        left = growth(self.at - at, affinity.half_life)
        values = [self.affinity.get(key, 0.0) * left for key in keys]
        return [value if value >= FLOOR else 0.0 for value in values]

    def recount(self, was: Event, now: Event, *, layout: Layout, affinity: Affinity) -> None:
        """Take an event's counts back and count it under its new label; times only widen.

        For entities whose history is too long to be folded again; `materialize` puts the first
        and last times right.
        """
        self._reach(now.occurred_at, layout, affinity)
        for event, times in ((was, -1.0), (now, 1.0)):
            code = code_of(event)
            self._count(event, code, times, layout)
            if layout.hour_kind[code]:
                self._add_affinity(event, affinity, times)
        self._widen(now, code_of(now), layout)

    def _count(self, event: Event, code: int, times: float, layout: Layout) -> None:
        for slot, by_value in layout.plain[code]:
            amount = event.value if by_value else 1.0
            if not math.isnan(amount):
                self._add(slot, event.occurred_at, times * amount, layout)

    def _widen(self, event: Event, code: int, layout: Layout) -> None:
        at = event.occurred_at
        for channel in layout.channels_of[code]:
            self.last[channel] = max(self.last.get(channel, NEVER_AT), at)
            self.first[channel] = min(self.first.get(channel, -NEVER_AT), at)

    def _place(self, event: Event, code: int, kind: int, layout: Layout) -> None:
        """Count an event in its hour and its week."""
        hour = local_hour(event.occurred_at, event.utc_offset_min)
        if layout.has_rhythm and layout.is_exposure[code]:
            slot = layout.n_counters + 2 * HOURS_PER_WEEK + slot_of_hour(hour)
            self._add(slot, event.occurred_at, 1.0, layout)
        if kind:
            self._add_week(week_of_hour(hour), kind)
            self._count_hour(hour, kind, layout)

    def _reach(self, at: int, layout: Layout, affinity: Affinity) -> None:
        """Renew the weights when an event lies far after the state's own time."""
        if self.at == NEVER_AT:
            self.at = at
            return
        if at - self.at <= layout.renorm_us:
            return
        age_us = self.at - at
        moved = {slot: v * growth(age_us, layout.spans[slot]) for slot, v in self.slots.items()}
        self.slots = {slot: value for slot, value in moved.items() if abs(value) >= FLOOR}
        fade = growth(age_us, affinity.half_life)
        self.affinity = {key: v * fade for key, v in self.affinity.items() if v * fade >= FLOOR}
        self.at = at

    def _add(self, slot: int, at: int, amount: float, layout: Layout) -> None:
        added = amount * growth(at - self.at, layout.spans[slot])
        self.slots[slot] = self.slots.get(slot, 0.0) + added

    def _count_hour(self, hour: int, kind: int, layout: Layout) -> None:
        if hour <= self.newest_hour - HOUR_MEMORY:
            return
        before = self.hours.get(hour, 0)
        if kind <= before:
            return
        self.hours[hour] = kind
        if before:  # a sure hour takes the place of a doubtful one
            self._add_hour(hour, before, -1.0, layout)
        self._add_hour(hour, kind, 1.0, layout)
        if hour > self.newest_hour:
            self.newest_hour = hour
            self._forget_hours()

    def _add_hour(self, hour: int, kind: int, amount: float, layout: Layout) -> None:
        """An active hour is dated by the local clock, so that which event opened it is one."""
        for slot in layout.hour_slots[kind]:
            self._add(slot, hour * HOUR_US, amount, layout)
        if layout.has_rhythm:
            part = HOURS_PER_WEEK if kind == DOUBTFUL else 0
            slot = layout.n_counters + part + slot_of_hour(hour)
            self._add(slot, hour * HOUR_US, amount, layout)

    def _forget_hours(self) -> None:
        oldest = self.newest_hour - HOUR_MEMORY
        if any(hour <= oldest for hour in self.hours):
            self.hours = {hour: kind for hour, kind in self.hours.items() if hour > oldest}

    def _add_week(self, week: int, kind: int) -> None:
        doubtful, sure = self.weeks
        if kind == DOUBTFUL:
            self.weeks = _together(doubtful, (1, week)), sure
        else:
            self.weeks = doubtful, _together(sure, (1, week))

    def _add_affinity(self, event: Event, affinity: Affinity, times: float = 1.0) -> None:
        amount = times * affinity.weights.get(event.type, 0.0)
        if amount == 0.0 or not (event.topics or event.content_id):
            return
        amount *= growth(event.occurred_at - self.at, affinity.half_life)
        for key in affinity_keys(event.topics, event.content_id):
            self.affinity[key] = self.affinity.get(key, 0.0) + amount

    def _set_zone(self, at: int, offset_min: int, zone: str) -> None:
        newest = max((self.zone_at, self.zone_offset_min, self.zone), (at, offset_min, zone))
        self.zone_at, self.zone_offset_min, self.zone = newest

    def _set_profile(self, at: int, properties: Mapping[str, object]) -> None:
        for attribute, name in enumerate(ATTRIBUTES):
            text = properties.get(name)
            if isinstance(text, str):
                self._set_word(attribute, at, text.replace("\x1f", " ")[:MAX_ATTRIBUTE_CHARS])

    def _set_word(self, attribute: int, at: int, text: str) -> None:
        if text:
            told = at, text
            self.profile[attribute] = max(self.profile.get(attribute, told), told)


def affinity_keys(topics: tuple[str, ...], content_id: str) -> list[int]:
    """The entries of an affinity map that one event adds to: all, each topic, the item."""
    keys = [TOTAL_KEY, *(key_hash("topic", topic) for topic in topics)]
    return [*keys, key_hash("content", content_id)] if content_id else keys


def growth(age_us: int, half_life_s: float) -> float:
    """What one unit becomes when it is told `age_us` later."""
    return math.exp2(age_us / SECOND_US / half_life_s)


def _together(a: Weeks, b: Weeks) -> Weeks:
    """The weeks of both, as far back as the newer one remembers."""
    (new, at), (old, before) = (a, b) if a[1] >= b[1] else (b, a)
    behind = at - before
    return ((new | old << behind) & _ALL_WEEKS if behind < MOST_WEEKS else new), at
