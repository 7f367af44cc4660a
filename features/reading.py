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
    """States as they lie, each sum told at its row's own time.

    Args:
        at: Shape (n,), microseconds.
        rows, slots, sums: The sums that are not zero, shape (n_sums,).
        last, first, bits, week: As in a `Reading`.
    """

    at: Times
    rows: NDArray[np.int64]
    slots: NDArray[np.int64]
    sums: Floats
    last: Times
    first: Times
    bits: NDArray[np.uint64]
    week: Times

    def without(self, rows: Sequence[int]) -> "Stack":
        """The same, but that nothing is known in some rows."""
        some = list(rows)
        is_known = ~np.isin(self.rows, some)
        last, first = self.last.copy(), self.first.copy()
        bits, week = self.bits.copy(), self.week.copy()
        last[some], first[some], bits[some], week[some] = NEVER_AT, -NEVER_AT, 0, 0
        return Stack(
            self.at, self.rows[is_known], self.slots[is_known], self.sums[is_known],
            last, first, bits, week,
        )  # fmt: skip

    def read(self, at: int, layout: Layout) -> Reading:
        """All of them at one moment, microseconds."""
        age_s = (at - self.at) / SECOND_US
        faded = self.sums * np.exp2(-age_s[self.rows] / layout.half_lives_s[self.slots])
        faded[np.abs(faded) < FLOOR] = 0.0
        values = np.zeros((len(self.at), layout.n_slots))
        values[self.rows, self.slots] = faded
        now = np.full(len(self.at), at, np.int64)
        return Reading(now, values, self.last, self.first, self.bits, self.week)


def stack(states: Sequence[State | None], layout: Layout) -> Stack:
    """Put states side by side; None is like a state without events."""
    n, n_channels = len(states), len(layout.channels)
    at = np.zeros(n, np.int64)
    rows: list[int] = []
    slots: list[int] = []
    sums: list[float] = []
    last = np.full((n, n_channels), NEVER_AT, np.int64)
    first = np.full((n, n_channels), -NEVER_AT, np.int64)
    bits, week = np.zeros((n, 2), np.uint64), np.zeros((n, 2), np.int64)
    for row, state in enumerate(states):
        if state is None or state.at == NEVER_AT:
            continue
        at[row] = state.at
        rows += [row] * len(state.slots)
        slots += state.slots
        sums += state.slots.values()
        if state.last:
            last[row, list(state.last)] = list(state.last.values())
            first[row, list(state.first)] = list(state.first.values())
        for which, (some, newest) in enumerate(state.weeks):
            bits[row, which], week[row, which] = some, newest
    places = np.array(rows, np.int64), np.array(slots, np.int64)
    return Stack(at, *places, np.array(sums, np.float64), last, first, bits, week)


def read(states: Sequence[State | None], at: int, layout: Layout) -> Reading:
    """Read packed states at one moment; None reads like a state without events."""
    return stack(states, layout).read(at, layout)
