"""How long a graph takes for one row, beside another's, measured in turns.

The smallest of many turns is the graph's own time: whatever else a machine does only adds to it.
Never part of a bundle, whose bytes are the same whoever makes it and where.
"""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.bundle import Bundle

TURNS: Final = 200


@dataclass(frozen=True, slots=True)
class Speed:
    """Microseconds that one row alone takes in a graph, and in the champion's if there is one."""

    row_us: float
    champion_us: float | None = None


def speed_of(own: Bundle, champion: Bundle | None = None) -> Speed:
    """Time a candidate and its champion, turn by turn on the same row."""
    both = [own] if champion is None else [own, champion]
    row = np.ones((1, len(own.spec.inputs)), np.float32)
    best = [float("inf")] * len(both)
    for _ in range(TURNS):
        for place, bundle in enumerate(both):
            began = time.perf_counter_ns()
            bundle.session.run(row)
            best[place] = min(best[place], (time.perf_counter_ns() - began) / 1_000)
    return Speed(*best)
