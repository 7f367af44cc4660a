"""Many packed states read at once: side by side as they lie, and what is asked of each alone.

The same numbers as `packing.unpack` and `reading.stack` give state by state, in a third of the
time; it pays from some dozens on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from features.block import Block, decode
from features.decay import NEVER_AT
from features.errors import StateUnreadableError
from features.interests import Lying
from features.layout import Layout
from features.packing import REMEDY, texts_of
from features.reading import Stack
from features.state import State

_NO_PROFILE: Final[Mapping[int, tuple[int, str]]] = {}


class Person(NamedTuple):
    """Of a state what is asked of it alone, as `State` has it."""

    at: int
    newest: int
    zone_at: int
    zone_offset_min: int
    zone: str
    profile: Mapping[int, tuple[int, str]]


Someone = State | Person  # known whole, or read with many others


@dataclass(frozen=True, slots=True)
class Unpacked:
    """States of several keys.

    Args:
        states: What is asked of each alone, the rest lies in `stack` and `interests`; None where
            there are no bytes.
        stack: All of them; None is like a state without events.
        interests: Of all of them.
    """

    states: list[Person | None]
    stack: Stack
    interests: Lying

    def without(self, rows: Sequence[int]) -> "Unpacked":
        """The same, but that nothing is known in some rows."""
        some = set(rows)
        states = [None if row in some else state for row, state in enumerate(self.states)]
        return Unpacked(states, self.stack.without(rows), self.interests.without(rows))


def unpacked(blobs: Sequence[bytes | None], layout: Layout) -> Unpacked:
    """The states of packed bytes, in their order.

    Raises:
        StateUnreadableError: Some of them cannot be read; `unpack` tells which, and why.
    """
    block, bad = decode(blobs, layout)
    if bad:
        raise StateUnreadableError(f"{len(bad)} of {len(blobs)}", REMEDY)
    states = _states(block)
    told = [None if blob is None else state for blob, state in zip(blobs, states, strict=True)]
    rows, entries, values = block.tastes
    ends = np.searchsorted(rows, np.arange(1, len(blobs) + 1))
    interests = Lying(block.head["at"].tolist(), ends, entries, values)
    return Unpacked(told, _stack(block, layout), interests)


def _states(block: Block) -> list[Person]:
    head = block.head
    columns = [head[name].tolist() for name in ("at", "newest", "zone_at", "zone_offset_min")]
    texts = [texts_of(raw, n) for raw, n in zip(block.texts, head["profile"].tolist(), strict=True)]
    told = zip(*(part.tolist() for part in block.profile[1:]), strict=True)  # in order of rows
    profiles = [
        {attribute: (at, word) for word, (attribute, at) in zip(words[1:], told, strict=False)}
        if len(words) > 1
        else _NO_PROFILE
        for words in texts
    ]
    zones = [words[0] for words in texts]
    return [Person(*one) for one in zip(*columns, zones, profiles, strict=True)]


def _stack(block: Block, layout: Layout) -> Stack:
    """As `reading.stack` of the states."""
    head, n = block.head, len(block.head)
    is_some = head["at"] != NEVER_AT
    last = np.full((n, len(layout.channels)), NEVER_AT, np.int64)
    first = np.full((n, len(layout.channels)), -NEVER_AT, np.int64)
    rows, channels, newest, oldest = block.channels
    last[rows, channels], first[rows, channels] = newest, oldest
    bits = np.stack([head["doubtful"], head["sure"]], axis=1)
    week = np.stack([head["doubtful_week"], head["sure_week"]], axis=1).astype(np.int64)
    at = np.where(is_some, head["at"], 0)
    told = Stack(at, *block.slots, last, first, bits, week)
    return told if is_some.all() else told.without(np.flatnonzero(~is_some).tolist())
