"""Many packed states read at once: side by side as they lie, and what is asked of each alone.

The same numbers as `packing.unpack` and `reading.stack` give state by state, in a third of the
time; it pays from some dozens on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import Block, decode
from features.decay import NEVER_AT
from features.definitions.profile import CONSENT
from features.errors import StateUnreadableError
from features.layout import Layout
from features.packing import REMEDY, texts_of
from features.reading import Reading, Stack
from features.state import State


@dataclass(frozen=True, slots=True)
class Unpacked:
    """States of several keys.

    Args:
        states: Of each its interests, its zone, its word on consent and its newest time, without
            what lies in `stack`; None where there are no bytes.
        stack: All of them; None is like a state without events.
    """

    states: list[State | None]
    stack: Stack


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
    return Unpacked(told, _stack(block, layout))


def _states(block: Block) -> list[State]:
    head, (rows, entries, values) = block.head, block.tastes
    ends = np.searchsorted(rows, np.arange(len(head) + 1)).tolist()
    tastes = list(zip(entries.tolist(), values.tolist(), strict=True))
    columns = [head[name].tolist() for name in ("at", "newest", "zone_at", "zone_offset_min")]
    zones = [
        texts_of(raw, n)[0] for raw, n in zip(block.texts, head["profile"].tolist(), strict=True)
    ]
    states = [
        State(
            at=at,
            newest=newest,
            zone_at=zone_at,
            zone_offset_min=offset,
            zone=zone,
            affinity=dict(tastes[begin:end]),
        )
        for at, newest, zone_at, offset, zone, (begin, end) in zip(
            *columns, zones, pairwise(ends), strict=True
        )
    ]
    rows, attributes, times = block.profile
    for place in np.flatnonzero(attributes == CONSENT).tolist():  # few have said anything
        row = int(rows[place])
        *_, word = texts_of(block.texts[row], int(head["profile"][row]))  # it is the last one
        states[row].profile[CONSENT] = int(times[place]), word
    return states


def _stack(block: Block, layout: Layout) -> Stack:
    """As `reading.stack` of the states."""
    head, n = block.head, len(block.head)
    is_some = head["at"] != NEVER_AT
    values = np.zeros((n, layout.n_slots))
    last = np.full((n, len(layout.channels)), NEVER_AT, np.int64)
    first = np.full((n, len(layout.channels)), -NEVER_AT, np.int64)
    rows, slots, sums = block.slots
    values[rows, slots] = sums
    rows, channels, newest, oldest = block.channels
    last[rows, channels], first[rows, channels] = newest, oldest
    bits = np.stack([head["doubtful"], head["sure"]], axis=1)
    week = np.stack([head["doubtful_week"], head["sure_week"]], axis=1).astype(np.int64)
    if not is_some.all():
        values[~is_some], last[~is_some], first[~is_some] = 0.0, NEVER_AT, -NEVER_AT
    at = np.where(is_some, head["at"], 0)
    return Stack(Reading(at, values, last, first, _of(is_some, bits), _of(is_some, week)))


def _of(is_some: NDArray[np.bool_], column: NDArray[Any]) -> NDArray[Any]:
    return np.where(is_some[:, None], column, column.dtype.type(0))
