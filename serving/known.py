"""What the store holds for the asks of one call, and a recipient's features by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from features.definitions.recipient import VIEW as RECIPIENT
from features.interests import Interests, OfStates
from features.layout import layout_of
from features.reading import Stack, stack
from features.state import State
from features.unpacked import Someone, Unpacked
from serving.cohorts import Cohorts
from serving.fallback import FallbackReason as Why
from serving.items import Items

RECIPIENT_LAYOUT: Final = layout_of(RECIPIENT)
PLACE: Final = {name: place for place, name in enumerate(RECIPIENT.names)}  # in a row of features


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds for the asks: states in their order, and the candidates.

    Args:
        people: Whole states, or of many that were read at once what is asked of each alone.
        trouble: Per ask why there is no state, NONE when there is one.
        many: The same states where they were read at once.
        cohorts: What people without interests are ranked by.
    """

    people: Sequence[Someone | None]
    items: Items
    trouble: Sequence[Why]
    many: Unpacked | None = None
    cohorts: Cohorts = field(default_factory=dict)

    @property
    def interests(self) -> Interests:
        """What the people are interested in."""
        return OfStates(self._whole) if self.many is None else self.many.interests

    @property
    def stack(self) -> Stack:
        """The people's states side by side."""
        return stack(self._whole, RECIPIENT_LAYOUT) if self.many is None else self.many.stack

    @property
    def _whole(self) -> Sequence[State | None]:
        """The states themselves, where they were not read at once."""
        return cast("Sequence[State | None]", self.people)


class Features(Mapping[str, float]):
    """One recipient's features by name, read from the row that the models read."""

    __slots__ = ("_row",)

    def __init__(self, row: NDArray[np.float32]) -> None:
        self._row = row

    def __getitem__(self, name: str) -> float:
        return self._row.item(PLACE[name])

    def __iter__(self) -> Iterator[str]:
        return iter(PLACE)

    def __len__(self) -> int:
        return len(PLACE)
