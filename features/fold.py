"""A batch of events into many states at once: what `State.apply` does one by one, over columns.

The same numbers (relative 1e-9); a test holds it to the scalar rule. Sums are dense for the
length of one batch (`rows` x slots), so a batch is a few thousand events at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import APART, Block
from features.decay import NEVER_AT
from features.definitions.affinity import Affinity
from features.events.schema import HOUR_US, SECOND_US, Event
from features.hours import placed
from features.layout import Layout
from features.signals import code_of
from features.state import affinity_keys
from features.sums import Sums
from features.told import told_by

Array = NDArray[Any]
Tastes = tuple[Array, Array, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Events as columns, made once for every view that they are folded into.

    Args:
        offsets: In the log, shape (n,), increasing at least within the events of a key; 0 is an
            event without a place in it.
        at: When they occurred, microseconds.
        hours: Local hours since 1970 (UTC where the clock is unknown).
        codes: Numbers in `signals.CODES`.
        values: What they give, NaN for nothing.
    """

    events: Sequence[Event]
    offsets: Array
    at: Array
    hours: Array
    codes: Array
    values: Array

    def at_places(self, places: Array) -> "Told":
        """Some of them, in order of offset; an event may be there more than once."""
        events = [self.events[place] for place in places.tolist()]
        columns = (self.offsets, self.at, self.hours, self.codes, self.values)
        return Told(events, *(column[places] for column in columns))


def told(entries: Sequence[tuple[int, Event]]) -> Told:
    """Log offsets and their events, in order of offset, as columns."""
    events = [event for _, event in entries]
    at = np.array([event.occurred_at for event in events], np.int64)
    offset_min = np.array([event.utc_offset_min or 0 for event in events], np.int64)
    return Told(
        events=events,
        offsets=np.array([offset for offset, _ in entries], np.int64),
        at=at,
        hours=(at + offset_min * 60 * SECOND_US) // HOUR_US,
        codes=np.array([code_of(event) for event in events], np.int64),
        values=np.array([event.value for event in events]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Per event code a run of numbers: `numbers[start[c] : start[c] + size[c]]`."""

    start: Array
    size: Array
    numbers: Array

    def of(self, codes: Array) -> tuple[Array, Array]:
        """The place of each code again for each of its numbers, and the numbers."""
        size = self.size[codes]
        places = np.repeat(np.arange(len(codes)), size)
        ends = np.cumsum(size)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - size, size)
        return places, self.numbers[np.repeat(self.start[codes], size) + within]


def fold(block: Block, rows: Array, told: Told, layout: Layout, affinity: Affinity) -> Block:
    """The block with the events taken in; offsets already seen change nothing.

    Args:
        rows: The row of the block that each event belongs to, shape (n,).
        told: None of them changes the past.
    """
    head = block.head.copy()
    is_new = (told.offsets > head["seen"][rows]) | (told.offsets == 0)
    np.maximum.at(head["seen"], rows, told.offsets)
    kept = is_new & (told.at > head["erased_at"][rows])
    if not kept.all():
        rows, told = rows[kept], told.at_places(np.flatnonzero(kept))
    if not len(rows):
        return Block(head, block.slots, block.channels, block.hours, block.tastes,
                     block.profile, block.texts)  # fmt: skip
    np.maximum.at(head["newest"], rows, told.at)
    fade_us = _renewed(head, rows, told.at, layout)
    sums = Sums(head["at"], layout)
    sums.add_again(block.slots, fade_us)
    _count(sums, rows, told, layout)
    remembered = block.hours
    if layout.tracks_hours:
        remembered = placed(sums, head, block, (rows, told.at, told.codes, told.hours), layout)
    profile, texts = block.profile, block.texts
    if layout.is_person:
        profile, texts = told_by(told.events, rows, head, block)
    return Block(
        head=head,
        slots=sums.sparse(),
        channels=_widened(block.channels, rows, told, layout),
        hours=remembered,
        tastes=_tastes(
            _faded(block.tastes, fade_us, affinity), head["at"][rows], rows, told, layout, affinity
        ),
        profile=profile,
        texts=texts,
    )


def _renewed(head: Array, rows: Array, at: Array, layout: Layout) -> Array:
    """Move the reference times of rows that lag behind; by how much (microseconds, <= 0)."""
    before = head["at"].copy()
    first = np.unique(rows, return_index=True)
    is_fresh = head["at"][first[0]] == NEVER_AT
    head["at"][first[0][is_fresh]] = at[first[1][is_fresh]]
    newest = head["at"].copy()
    np.maximum.at(newest, rows, at)
    lags = newest - head["at"] > layout.renorm_us
    head["at"][lags] = newest[lags]
    return np.where(before == NEVER_AT, 0, before - head["at"])


def _count(sums: Sums, rows: Array, told: Told, layout: Layout) -> None:
    ones, by_value, _ = _runs_of(layout)
    places, slots = ones.of(told.codes)
    sums.add(rows[places], slots, told.at[places], 1.0)
    places, slots = by_value.of(told.codes)
    if len(places):
        values = told.values[places]
        given = ~np.isnan(values)
        places, slots = places[given], slots[given]
        sums.add(rows[places], slots, told.at[places], values[given])


def _widened(
    channels: tuple[Array, Array, Array, Array], rows: Array, told: Told, layout: Layout
) -> tuple[Array, Array, Array, Array]:
    """First and last times with those of the events."""
    _, _, runs = _runs_of(layout)
    places, touched = runs.of(told.codes)
    at = told.at
    width = max(len(layout.channels), 1)
    number = np.concatenate([channels[0] * width + channels[1], rows[places] * width + touched])
    known, where = np.unique(number, return_inverse=True)
    last = np.full(len(known), NEVER_AT, np.int64)
    first = np.full(len(known), -NEVER_AT, np.int64)
    np.maximum.at(last, where, np.concatenate([channels[2], at[places]]))
    np.minimum.at(first, where, np.concatenate([channels[3], at[places]]))
    return known // width, known % width, last, first


def _faded(tastes: Tastes, fade_us: Array, affinity: Affinity) -> Tastes:
    rows, ids, values = tastes
    fade = fade_us[rows]
    if fade.any():
        values = values * np.exp2(fade / SECOND_US / affinity.half_life)
    return rows, ids, values


def _tastes(
    tastes: Tastes, reference: Array, rows: Array, told: Told, layout: Layout, affinity: Affinity
) -> Tastes:
    """Interests with those that the events show; `reference` is the time of each event's row."""
    more: list[int] = []
    whose: list[int] = []
    for place in np.flatnonzero(layout.hour_kind[told.codes]).tolist() if affinity.weights else []:
        event = told.events[place]
        if (event.topics or event.content_id) and affinity.weights.get(event.type, 0.0):
            keys = affinity_keys(event.topics, event.content_id)
            more += keys
            whose += [place] * len(keys)
    if not more:
        return tastes
    old_rows, ids, values = tastes
    shown = np.array(whose, np.int64)
    weights = np.array([affinity.weights.get(told.events[place].type, 0.0) for place in whose])
    age_s = (told.at - reference)[shown] / SECOND_US
    amounts = weights * np.exp2(age_s / affinity.half_life)
    number = np.concatenate(
        [old_rows * APART + ids, rows[shown] * APART + np.array(more, np.int64)]
    )
    every, where = np.unique(number, return_inverse=True)
    total = np.bincount(where, weights=np.concatenate([values, amounts]), minlength=len(every))
    return every // APART, every % APART, total


@lru_cache(maxsize=8)
def _runs_of(layout: Layout) -> tuple[_Runs, _Runs, _Runs]:
    """Slots that count one, slots that count the value, channels; by event code."""
    ones = [[slot for slot, by_value in some if not by_value] for some in layout.plain]
    values = [[slot for slot, by_value in some if by_value] for some in layout.plain]

    def runs(lists: Sequence[Sequence[int]]) -> _Runs:
        size = np.array([len(some) for some in lists], np.int64)
        numbers = np.array([number for some in lists for number in some], np.int64)
        return _Runs(np.cumsum(size) - size, size, numbers)

    return runs(ones), runs(values), runs(layout.channels_of)
