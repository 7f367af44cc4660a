"""States read at a moment: what features are made of.

A `Stack` is states side by side as they lie, each sum told at its state's own time. It can be kept
as long as the states' bytes are the same, and be read at any moment: nothing stale is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.decay import FLOOR, NEVER_AT
from features.events.schema import SECOND_US
from features.layout import Layout
from features.state import State

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reading:
    """States read at their own moments.

    Args:
        at: Shape (n,), microseconds.
        values: Shape (n, n_counters or n_slots), decayed to `at`.
        last, first: Shape (n, n_channels), microseconds; NEVER_AT and its negative for never.
        bits, week: Shape (n, 2), the weeks with doubtful and with sure activity: bit i is week
            (newest - i); the newest week.
    """

    at: Times
    values: Floats
    last: Times
    first: Times
    bits: NDArray[np.uint64]
    week: Times

    def part(self, rows: slice | Times) -> "Reading":
        """Some of the rows."""
        return Reading(
            self.at[rows], self.values[rows], self.last[rows], self.first[rows],
            self.bits[rows], self.week[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stack:
    """States as they lie: the arrays of a `Reading`, but of each row's own time."""

    lying: Reading

    def without(self, rows: Sequence[int]) -> "Stack":
        """The same, but that nothing is known in some rows."""
        own, some = self.lying, list(rows)
        blank = Reading(
            own.at, own.values.copy(), own.last.copy(), own.first.copy(), own.bits.copy(),
            own.week.copy(),
        )  # fmt: skip
        for part, nothing in (
            (blank.values, 0.0), (blank.last, NEVER_AT), (blank.first, -NEVER_AT),
            (blank.bits, 0), (blank.week, 0),
        ):  # fmt: skip
            part[some] = nothing
        return Stack(blank)

    def read(self, at: int, layout: Layout) -> Reading:
        """All of them at one moment, microseconds."""
        own = self.lying
        age_s = (at - own.at) / SECOND_US
        is_some = own.values != 0.0
        values = np.zeros_like(own.values)
        np.exp2(-age_s[:, None] / layout.half_lives_s, out=values, where=is_some)
        values *= own.values
        values[np.abs(values) < FLOOR] = 0.0
        now = np.full(len(own.at), at, np.int64)
        return Reading(now, values, own.last, own.first, own.bits, own.week)


def stack(states: Sequence[State | None], layout: Layout) -> Stack:
    """Put states side by side; None is like a state without events."""
    n, n_slots, n_channels = len(states), layout.n_slots, len(layout.channels)
    at, values = np.zeros(n, np.int64), np.zeros((n, n_slots))
    last = np.full((n, n_channels), NEVER_AT, np.int64)
    first = np.full((n, n_channels), -NEVER_AT, np.int64)
    bits, week = np.zeros((n, 2), np.uint64), np.zeros((n, 2), np.int64)
    for row, state in enumerate(states):
        if state is None or state.at == NEVER_AT:
            continue
        at[row] = state.at
        if state.slots:
            slots = np.fromiter(state.slots, np.int64, len(state.slots))
            values[row, slots] = np.fromiter(state.slots.values(), np.float64, len(state.slots))
        for channel, moment in state.last.items():
            last[row, channel] = moment
        for channel, moment in state.first.items():
            first[row, channel] = moment
        for which, (some, newest) in enumerate(state.weeks):
            bits[row, which], week[row, which] = some, newest
    return Stack(Reading(at, values, last, first, bits, week))


def read(states: Sequence[State | None], at: int, layout: Layout) -> Reading:
    """Read packed states at one moment; None reads like a state without events."""
    return stack(states, layout).read(at, layout)
