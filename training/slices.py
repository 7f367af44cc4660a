"""For whom a model is good, and for whom not: the test's measures by slice, worst first."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.report import Measured, Slice
from training import clusters

MIN_ROWS: Final = 200
MIN_RECIPIENTS: Final = 30

Floats = NDArray[np.float64]


def measured(
    families: Mapping[str, NDArray[np.object_]],
    people: NDArray[np.str_],
    columns: Mapping[str, Floats],
    outcome: tuple[Floats, Floats] | None = None,
) -> list[Slice]:
    """Every slice of every family; those too small to say anything come last, unmeasured.

    Slices overlap, and with twenty of them one interval in two reports misses its truth: what
    is worst here is a question to look into, the gates correct for their number.

    Args:
        families: By family the name of each row's slice, shape (n,).
        people: Recipient of each row.
        columns: `value`, `gain` and, where there is a champion, `over_champion`, shape (n,).
        outcome: Labels and probabilities, for the calibration of each slice.
    """
    numbers = np.unique(people, return_inverse=True)[1]
    table = dict(columns)
    if outcome is not None:
        table["excess"] = outcome[1] - outcome[0]
    stacked = np.stack(list(table.values()), axis=1)
    found = []
    for family, names in families.items():
        for name in sorted(set(names)):
            rows = np.flatnonzero(names == name)
            n_people = len(np.unique(numbers[rows]))
            if len(rows) < MIN_ROWS or n_people < MIN_RECIPIENTS:
                found.append(Slice(family, str(name), len(rows), n_people))
                continue
            told = dict(zip(table, clusters.means(stacked[rows], numbers[rows]), strict=True))
            y, p = (None, None) if outcome is None else (float(c[rows].mean()) for c in outcome)
            found.append(Slice(
                family, str(name), len(rows), n_people, told["value"], told.get("gain"),
                told.get("over_champion"), p, y, told.get("excess"),
            ))  # fmt: skip
    return sorted(found, key=lambda part: (part.value is None, _worth(part.gain)))


def _worth(gain: Measured | None) -> float:
    return 0.0 if gain is None else gain.value
