"""Who has shown no interest yet is given that of the people of the same country.

Their cohorts are read after them and only for them: most calls read none.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.candidates import COLD, Candidate, affinities, cohort_matrix, is_cold
from features.definitions import AFFINITY
from features.definitions.cohort import FEATURES, TASTES
from features.definitions.cohort import VIEW as COHORT
from features.definitions.profile import ATTRIBUTES
from features.events.schema import COUNTRY
from features.interests import Interests
from features.layout import layout_of
from features.state import TOTAL_KEY, State
from features.unpacked import Someone
from serving.asks import Ask

COHORT_LAYOUT: Final = layout_of(COHORT)
_COUNTRY: Final = ATTRIBUTES.index(COUNTRY)

Rows = NDArray[np.float32]
Cohorts = Mapping[str, State | None]  # by country, None where nothing is known of one


def wanted(
    asks: Sequence[Ask], people: Sequence[Someone | None], interests: Interests, at: int
) -> list[str]:
    """The countries of those who are asked about items and have no interests, once each."""
    told = [
        row
        for row, (ask, state) in enumerate(zip(asks, people, strict=True))
        if ask.candidates and state is not None and _COUNTRY in state.profile
    ]
    if not told:
        return []
    is_none = interests.some(told).sums([TOTAL_KEY], at, AFFINITY)[:, 0] < COLD
    cold = [people[row] for row, is_cold in zip(told, is_none.tolist(), strict=True) if is_cold]
    return list(dict.fromkeys(state.profile[_COUNTRY][1] for state in cold if state is not None))


def cohort_rows(
    asks: Sequence[Ask],
    people: Sequence[Someone | None],
    cohorts: Cohorts,
    tastes: Rows,
    at: int,
) -> Rows:
    """The cohort features of all candidates of all asks, missing where no cohort is looked at.

    Args:
        tastes: The affinity features of the same rows.
    """
    out = np.full((len(tastes), len(FEATURES)), np.nan, np.float32)
    told: dict[tuple[str, tuple[Candidate, ...]], Rows] = {}
    begin = 0
    for ask, state in zip(asks, people, strict=True) if cohorts else ():
        end = begin + len(ask.candidates)
        country = "" if state is None else state.profile.get(_COUNTRY, (0, ""))[1]
        if end > begin and country in cohorts and is_cold(tastes[begin]):
            asked = country, ask.candidates
            if asked not in told:
                (found,) = affinities([cohorts[country]], ask.candidates, at, affinity=TASTES)
                told[asked] = cohort_matrix(found)
            out[begin:end] = told[asked]
        begin = end
    return out
