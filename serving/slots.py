"""The hours that a mail could go out in, and what is said of each. Pure.

What is said of many lies side by side until somebody asks for one.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.layout import HOURS_PER_WEEK
from serving.asks import Floats, Prediction
from serving.columns import rows_of


class Slot(NamedTuple):
    """One hour a mail could go out.

    Args:
        at: Its moment, microseconds.
        p: P(engage within 24 h).
        low, high: The ends of a 90 % interval on it.
    """

    at: int
    p: float
    low: float
    high: float


class Told:
    """What is said of the allowed hours of those who share a window; of each, when it is asked for.

    Args:
        moments: Of the hours, microseconds.
        of_week: The hour of the week of each, on the recipients' clock.
        some: What is said of the recipients, who were scored together.
    """

    __slots__ = ("_begins", "_of_week", "_p", "_shown", "_weeks", "moments")

    def __init__(
        self, moments: tuple[int, ...], of_week: NDArray[np.int64], some: Sequence[Prediction]
    ) -> None:
        self.moments = moments
        self._of_week = of_week
        # Taken from by one index: rows and hours apart take three times as long.
        self._weeks = [part.ravel() for part in some[0].weeks[:3]]  # p, low and high
        self._begins = np.array([one.row for one in some]) * HOURS_PER_WEEK
        self._p: Floats | None = None
        self._shown: list[list[float]] | None = None

    @property
    def p(self) -> Floats:
        """Of every recipient and hour, shape (n, hours)."""
        if self._p is None:
            self._p = self._weeks[0].take(self._begins[:, None] + self._of_week)
        return self._p

    @property
    def peaks(self) -> list[float]:
        """The best p in the whole week of every recipient."""
        weeks = self._weeks[0].take(self._begins[:, None] + np.arange(HOURS_PER_WEEK))
        return list(weeks.max(axis=1).tolist())

    def slots(self, row: int) -> tuple[Slot, ...]:
        """All hours of one recipient."""
        places = self._begins[row] + self._of_week
        return tuple(rows_of(Slot, self.moments, *self._told(places)))

    def chances(self, row: int) -> list[float]:
        """The p of all hours of one recipient."""
        return list(self.p[row].tolist())

    def shown(self, row: int) -> list[float]:
        """The same to six digits; made for all at once."""
        if self._shown is None:
            self._shown = rounded(self.p).tolist()
        return self._shown[row]

    def slot(self, row: int, place: int) -> Slot:
        """One hour of one recipient."""
        at = self._begins[row] + self._of_week[place]
        return Slot(self.moments[place], *(part.item(at) for part in self._weeks))

    def at_places(self, places: NDArray[np.int64]) -> list[Slot]:
        """One hour of every recipient."""
        moments = [self.moments[place] for place in places.tolist()]
        return rows_of(Slot, moments, *self._told(self._begins + self._of_week.take(places)))

    def at_place(self, place: int) -> list[Slot]:
        """The same hour of every recipient."""
        told = self._told(self._begins + self._of_week[place])
        return rows_of(Slot, repeat(self.moments[place]), *told)

    def _told(self, places: NDArray[np.int64]) -> list[list[float]]:
        """p, low and high of some hours of some recipients."""
        return [part.take(places).tolist() for part in self._weeks]


def rounded(chances: NDArray[Any]) -> NDArray[np.float64]:
    """As they are shown: to six digits."""
    return chances.astype(np.float64).round(6)
