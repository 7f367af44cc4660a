"""What the store holds of the candidates, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.assemble import matrix
from features.candidates import Candidate
from features.definitions.content import VIEW as CONTENT
from features.layout import POOL, layout_of
from features.reading import Stack, stack
from features.state import State

CONTENT_LAYOUT: Final = layout_of(CONTENT)


@dataclass(frozen=True, slots=True)
class Items:
    """States of items.

    Args:
        places: The row of each content id there is a state of.
        states: After them a row like that of an item nobody saw, and all items together, which
            rates of single ones are shrunk to.
    """

    places: Mapping[str, int]
    states: Stack

    def features(self, candidates: Sequence[Candidate], at: int) -> NDArray[np.float32]:
        """The content features of candidates at a moment (microseconds), shape (n, n_features)."""
        reading = self.states.read(at, CONTENT_LAYOUT)
        together = reading.part(slice(-1, None))
        found = matrix(reading.part(slice(-1)), CONTENT, together)
        rows = [self.places.get(one.content_id, len(found) - 1) for one in candidates]
        return np.asarray(found[rows])


def items_of(states: Mapping[str, State]) -> Items:
    """States by content id; that under `POOL` is of all together."""
    single = {item: state for item, state in states.items() if item != POOL}
    together = [*single.values(), None, states.get(POOL)]
    places = {item: row for row, item in enumerate(single)}
    return Items(places, stack(together, CONTENT_LAYOUT))


NO_ITEMS: Final = items_of({})
