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
Entry = tuple[int, int, Event]  # row, log offset, event


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


def fold(block: Block, entries: Sequence[Entry], layout: Layout, affinity: Affinity) -> Block:
    """The block with the events taken in; offsets already seen change nothing.

    Args:
        entries: In order of offset; none of them changes the past.
    """
    rows = np.array([row for row, _, _ in entries], np.int64)
    offsets = np.array([offset for _, offset, _ in entries], np.int64)
    head = block.head.copy()
    at = np.array([event.occurred_at for _, _, event in entries], np.int64)
    is_new = (offsets > head["seen"][rows]) | (offsets == 0)
    np.maximum.at(head["seen"], rows, offsets)
    kept = is_new & (at > head["erased_at"][rows])
    events = [entry[2] for entry, keep in zip(entries, kept.tolist(), strict=True) if keep]
    rows, at = rows[kept], at[kept]
    if not events:
        return Block(head, block.slots, block.channels, block.hours, block.tastes,
                     block.profile, block.texts)  # fmt: skip
    np.maximum.at(head["newest"], rows, at)
    fade_us = _renewed(head, rows, at, layout)
    codes = np.array([code_of(event) for event in events], np.int64)
    offset_min = np.array([event.utc_offset_min or 0 for event in events], np.int64)
    hours = (at + offset_min * 60 * SECOND_US) // HOUR_US
    sums = Sums(head["at"], layout)
    sums.add_again(block.slots, fade_us)
    _count(sums, events, rows, at, codes, layout)
    remembered = block.hours
    if layout.tracks_hours:
        remembered = placed(sums, head, block, (rows, at, codes, hours), layout)
    profile, texts = block.profile, block.texts
    if layout.is_person:
        profile, texts = told_by(events, rows, head, block)
    return Block(
        head=head,
        slots=sums.sparse(),
        channels=_widened(block.channels, rows, at, codes, layout),
        hours=remembered,
        tastes=_tastes(block, head, fade_us, (events, rows, at, codes), layout, affinity),
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


def _count(
    sums: Sums, events: Sequence[Event], rows: Array, at: Array, codes: Array, layout: Layout
) -> None:
    ones, by_value, _ = _runs_of(layout)
    places, slots = ones.of(codes)
    sums.add(rows[places], slots, at[places], 1.0)
    places, slots = by_value.of(codes)
    if len(places):
        values = np.array([event.value for event in events])[places]
        given = ~np.isnan(values)
        places, slots = places[given], slots[given]
        sums.add(rows[places], slots, at[places], values[given])


def _widened(
    channels: tuple[Array, Array, Array, Array], rows: Array, at: Array, codes: Array,
    layout: Layout,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """First and last times with those of the events."""
    _, _, runs = _runs_of(layout)
    places, touched = runs.of(codes)
    width = max(len(layout.channels), 1)
    number = np.concatenate([channels[0] * width + channels[1], rows[places] * width + touched])
    known, where = np.unique(number, return_inverse=True)
    last = np.full(len(known), NEVER_AT, np.int64)
    first = np.full(len(known), -NEVER_AT, np.int64)
    np.maximum.at(last, where, np.concatenate([channels[2], at[places]]))
    np.minimum.at(first, where, np.concatenate([channels[3], at[places]]))
    return known // width, known % width, last, first


def _tastes(
    block: Block, head: Array, fade_us: Array, told: tuple[Sequence[Event], Array, Array, Array],
    layout: Layout, affinity: Affinity,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Interests with those that the events show."""
    events, rows, at, codes = told
    old_rows, ids, values = block.tastes
    fade = fade_us[old_rows]
    if fade.any():
        values = values * np.exp2(fade / SECOND_US / affinity.half_life)
    more: list[int] = []
    whose: list[int] = []
    for place in np.flatnonzero(layout.hour_kind[codes]).tolist() if affinity.weights else []:
        event = events[place]
        if (event.topics or event.content_id) and affinity.weights.get(event.type, 0.0):
            keys = affinity_keys(event.topics, event.content_id)
            more += keys
            whose += [place] * len(keys)
    if not more:
        return old_rows, ids, values
    shown = np.array(whose, np.int64)
    weights = np.array([affinity.weights.get(event.type, 0.0) for event in events])
    age_s = (at - head["at"][rows]) / SECOND_US
    amounts = (weights * np.exp2(age_s / affinity.half_life))[shown]
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
