"""What the store holds for the asks of one call, and a recipient's features by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.definitions.recipient import VIEW as RECIPIENT
from features.interests import Interests, Lying, OfStates
from features.reading import Stack
from features.state import State
from serving.cohorts import Cohorts
from serving.fallback import FallbackReason as Why
from serving.items import Items

PLACE: Final = {name: place for place, name in enumerate(RECIPIENT.names)}  # in a row of features


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds for the asks: states in their order, and the candidates.

    Args:
        trouble: Per ask why there is no state, NONE when there is one.
        lying, told: The same states side by side, and their interests, where they were read at
            once; the states themselves are then without these.
        cohorts: What people without interests are ranked by.
    """

    people: Sequence[State | None]
    items: Items
    trouble: Sequence[Why]
    lying: Stack | None = None
    told: Lying | None = None
    cohorts: Cohorts = field(default_factory=dict)

    @property
    def interests(self) -> Interests:
        """What the people are interested in."""
        return OfStates(self.people) if self.told is None else self.told


class Features(Mapping[str, float]):
    """One recipient's features by name, read from the row that the models read."""

    __slots__ = ("_row",)

    def __init__(self, row: NDArray[np.float32]) -> None:
        self._row = row

    def __getitem__(self, name: str) -> float:
        return float(self._row.item(PLACE[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(PLACE)

    def __len__(self) -> int:
        return len(PLACE)
