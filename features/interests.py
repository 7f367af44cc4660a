"""What people are interested in, read at a moment: of states one by one, or of many in arrays.

Both ways give the same numbers, to the bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.decay import FLOOR
from features.definitions.affinity import Affinity
from features.state import State, growth

Array = NDArray[Any]


class Interests(Protocol):
    """Of several recipients or cohorts, in their order."""

    def sums(self, keys: Sequence[int], at: int, affinity: Affinity) -> NDArray[np.float64]:
        """What is left of each interest at a moment (microseconds), shape (n, n_keys)."""

    def some(self, rows: Sequence[int]) -> "Interests":
        """Those of some rows."""


@dataclass(frozen=True, slots=True)
class OfStates:
    """In the states themselves; None is interested in nothing."""

    states: Sequence[State | None]

    def sums(self, keys: Sequence[int], at: int, affinity: Affinity) -> NDArray[np.float64]:
        """As `Interests` has it."""
        found = np.zeros((len(self.states), len(keys)))
        for row, state in enumerate(self.states):
            if state is not None:
                found[row] = state.affinities_at(keys, at, affinity)
        return found

    def some(self, rows: Sequence[int]) -> "OfStates":
        """As `Interests` has it."""
        return OfStates([self.states[row] for row in rows])


@dataclass(frozen=True, slots=True)
class Lying:
    """As packed states hold them, side by side.

    Args:
        at: Of each row, microseconds: the time that its values are told at.
        ends: Where each row's interests end, shape (n,).
        entries, values: Of all rows, one row after the other.
    """

    at: Sequence[int]
    ends: NDArray[np.int64]
    entries: Array
    values: Array

    @property
    def begins(self) -> NDArray[np.int64]:
        """Where each row's interests begin."""
        return np.concatenate([[0], self.ends[:-1]])

    def sums(self, keys: Sequence[int], at: int, affinity: Affinity) -> NDArray[np.float64]:
        """As `Interests` has it."""
        asked, places = np.unique(np.asarray(keys, np.int64), return_inverse=True)
        place = np.minimum(np.searchsorted(asked, self.entries), len(asked) - 1)
        is_asked = asked[place] == self.entries
        found = np.zeros((len(self.ends), len(asked)))
        row = np.repeat(np.arange(len(self.ends)), self.ends - self.begins)
        found[row[is_asked], place[is_asked]] = self.values[is_asked]
        # `numpy.exp2` may differ from that of `math` in the last bit.
        found *= np.array([growth(own - at, affinity.half_life) for own in self.at])[:, None]
        found[found < FLOOR] = 0.0
        return np.asarray(found[:, places])

    def some(self, rows: Sequence[int]) -> "Lying":
        """As `Interests` has it."""
        begins, ends = self.begins[rows].tolist(), self.ends[rows].tolist()
        spans = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
        return Lying(
            [self.at[row] for row in rows],
            np.cumsum([span.stop - span.start for span in spans]),
            np.concatenate([self.entries[span] for span in spans]),
            np.concatenate([self.values[span] for span in spans]),
        )

    def without(self, rows: Sequence[int]) -> "Lying":
        """The same, but that nothing is known in some rows."""
        lengths = self.ends - self.begins
        is_kept = np.ones(len(self.ends), np.bool_)
        is_kept[list(rows)] = False
        known = np.repeat(is_kept, lengths)
        ends = np.cumsum(np.where(is_kept, lengths, 0))
        return Lying(self.at, ends, self.entries[known], self.values[known])
