"""The decayed sums of many states at once, dense for the length of one batch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.events.schema import SECOND_US
from features.layout import Layout

Array = NDArray[Any]


class Sums:
    """The slots of all rows, dense."""

    def __init__(self, reference: Array, layout: Layout) -> None:
        self._reference, self._spans = reference, layout.half_lives_s
        self._shape = (len(reference), layout.n_slots)
        self._places: list[Array] = []
        self._amounts: list[Array] = []

    def add_again(self, slots: tuple[Array, Array, Array], fade_us: Array) -> None:
        """What the states held, faded to where their time has moved."""
        rows, ids, values = slots
        fade = fade_us[rows]
        if fade.any():
            values = values * np.exp2(fade / SECOND_US / self._spans[ids])
        self._put(rows, ids, values)

    def add(self, rows: Array, slots: Array, at: Array, amounts: Array | float) -> None:
        """Amounts that count from a moment (microseconds)."""
        age_s = (at - self._reference[rows]) / SECOND_US
        self._put(rows, slots, amounts * np.exp2(age_s / self._spans[slots]))

    def sparse(self) -> tuple[Array, Array, Array]:
        """Row, slot and sum of what is not zero, in that order."""
        n, width = self._shape
        places, amounts = np.concatenate(self._places), np.concatenate(self._amounts)
        dense = np.bincount(places, weights=amounts, minlength=n * width)
        used = np.flatnonzero(dense)
        return used // width, used % width, dense[used]

    def _put(self, rows: Array, slots: Array, amounts: Array) -> None:
        self._places.append(rows * self._shape[1] + slots)
        self._amounts.append(amounts)
