"""Feature values of a moment from packed states, as Feast's on-demand views compute them.

The functions that Feast stores by name and calls with columns: `assemble` reads the states, so a
Feast user is given the numbers that serving gives to the models. They know nothing of Feast.

Failure mode: a state that cannot be read (damaged, or of other definitions) gives missing values
and a warning, and so does a moment before the newest that the state knows of, which is a question
for training rows; an unknown key gives the values of somebody without events.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.assemble import matrix, rhythm
from features.candidates import Candidate, affinities, cohort_matrix
from features.definitions.affinity import AFFINITY, Affinity
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.cohort import TASTES
from features.definitions.cohort import VIEW as COHORT
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError
from features.events.schema import MAX_SKEW_US
from features.layout import HOURS_PER_WEEK, Layout, layout_of
from features.packing import unpack
from features.reading import read
from features.state import State

LOG: Final = logging.getLogger("opportune.feast")
RECIPIENT_STATE: Final = "recipient_packed"
CONTENT_STATE: Final = "content_packed"
COHORT_STATE: Final = "cohort_packed"
CONTENT_POOL: Final = "content_pool_packed"
AS_OF: Final = "as_of"
TOPICS: Final = "topics"
RHYTHM: Final = "rhythm"

Columns = Mapping[str, Sequence[Any]]
Rows = NDArray[np.float32]
_RECIPIENT: Final = layout_of(RECIPIENT)
_CONTENT: Final = layout_of(CONTENT)
_COHORT: Final = layout_of(COHORT)


def recipient_now(columns: Columns) -> dict[str, list[Any]]:
    """The recipient's features and rhythm (168 hours of the week) at `as_of` (microseconds)."""
    moments = _moments(columns)
    states, is_known = _states(columns[RECIPIENT_STATE], moments, _RECIPIENT)

    def features(places: NDArray[np.intp], at: int) -> Rows:
        reading = read([states[place] for place in places], at, _RECIPIENT)
        return np.hstack([matrix(reading, RECIPIENT), rhythm(reading, _RECIPIENT)])

    rows = _by_moment(moments, features, len(RECIPIENT.names) + HOURS_PER_WEEK)
    rows[~is_known] = np.nan
    n = len(RECIPIENT.names)
    named = dict(zip(RECIPIENT.names, map(list, rows[:, :n].T), strict=True))
    return _named("recipient_now", {**named, RHYTHM: [list(row) for row in rows[:, n:]]})


def content_now(columns: Columns) -> dict[str, list[Any]]:
    """The item's features at `as_of`, its rates shrunk to those of all items together."""
    moments = _moments(columns)
    states, is_known = _states(columns[CONTENT_STATE], moments, _CONTENT)
    pools, is_pool_known = _states(columns[CONTENT_POOL], moments, _CONTENT)

    def features(places: NDArray[np.intp], at: int) -> Rows:
        items = read([states[place] for place in places], at, _CONTENT)
        together = read([pools[place] for place in places], at, _CONTENT)
        return matrix(items, CONTENT, together)

    rows = _by_moment(moments, features, len(CONTENT.names))
    rows[~(is_known & is_pool_known)] = np.nan
    return _named("content_now", dict(zip(CONTENT.names, map(list, rows.T), strict=True)))


def affinity_now(columns: Columns) -> dict[str, list[Any]]:
    """What the recipient's interests say of the item, whose `topics` the caller gives."""
    rows = _of_pairs(columns, RECIPIENT_STATE, _RECIPIENT, AFFINITY)
    names = [name for name, _ in AFFINITY_FEATURES]
    return _named("affinity_now", dict(zip(names, map(list, rows.T), strict=True)))


def cohort_now(columns: Columns) -> dict[str, list[Any]]:
    """What the interests of a cohort say of the item; models read it of who has none."""
    rows = cohort_matrix(_of_pairs(columns, COHORT_STATE, _COHORT, TASTES))
    names = [name for name, _ in COHORT_FEATURES]
    return _named("cohort_now", dict(zip(names, map(list, rows.T), strict=True)))


def _of_pairs(columns: Columns, field: str, layout: Layout, affinity: Affinity) -> Rows:
    """The affinity features of a key's state and an item, row by row."""
    moments = _moments(columns)
    states, is_known = _states(columns[field], moments, layout)
    items, topics = columns["content_id"], columns[TOPICS]
    rows = np.full((len(states), len(AFFINITY_FEATURES)), np.nan, np.float32)
    for place in np.flatnonzero(is_known).tolist():
        candidate = Candidate(str(items[place]), tuple(topics[place] or ()))
        (told,) = affinities([states[place]], (candidate,), moments[place], affinity=affinity)
        rows[place] = told[0]
    return rows


def _moments(columns: Columns) -> list[int]:
    return [int(moment) for moment in columns[AS_OF]]


def _states(
    blobs: Sequence[bytes | None], moments: Sequence[int], layout: Layout
) -> tuple[list[State | None], NDArray[np.bool_]]:
    """States in order, and of which of them the value at its moment is known."""
    states: list[State | None] = []
    is_known = np.ones(len(blobs), np.bool_)
    for place, (blob, at) in enumerate(zip(blobs, moments, strict=True)):
        state = None
        if blob:
            try:
                state = unpack(blob, layout)
            except StateUnreadableError as error:
                LOG.warning("features of a %s are missing: %s", layout.view.entity, error)
                is_known[place] = False
        if state is not None and at < state.newest - MAX_SKEW_US:
            LOG.warning(
                "features of a %s at %d are missing: it has an event of %d; ask for training rows",
                layout.view.entity, at, state.newest,
            )  # fmt: skip
            state, is_known[place] = None, False
        states.append(state)
    return states, is_known


def _by_moment(
    moments: list[int], features: Callable[[NDArray[np.intp], int], Rows], width: int
) -> Rows:
    """Rows in order, computed together where they are asked for at the same moment."""
    out = np.empty((len(moments), width), np.float32)
    asked = np.array(moments, np.int64)
    for at in dict.fromkeys(moments):
        places = np.flatnonzero(asked == at)
        out[places] = features(places, at)
    return out


def _named(view: str, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns under their names and under full ones: Feast picks those that were asked for."""
    return columns | {f"{view}__{name}": column for name, column in columns.items()}
