"""What interests say of one candidate: affinity features, shared by both sides.

Serving reads one recipient's packed state, training reads many moments through `batch`; both
hand the same sums to `affinity_matrix`. Who has shown no interest is given that of a cohort.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.definitions.affinity import AFFINITY, Affinity
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.interests import Interests, OfStates
from features.spec import key_hash
from features.state import TOTAL_KEY, State

SHARE_WEIGHT: Final = 5.0  # interest that a recipient without a history is taken to have
COLD: Final = 0.05  # interest below it is none: what is left of a single open after two years
_NAMES: Final = [name for name, _ in AFFINITY_FEATURES]
_INTEREST, _TOPICS, _ITEM = map(_NAMES.index, ("interest", "topic_affinity_share", "item_affinity"))

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that could be shown."""

    content_id: str
    topics: tuple[str, ...] = ()


def affinity_matrix(interest: Floats, topics: Floats, item: Floats) -> NDArray[np.float32]:
    """The affinity features in the order of `definitions.affinity.FEATURES`.

    Args:
        interest: Shape (n,), all interest of the recipient.
        topics: Shape (n, most topics), interest in each of the candidate's topics, NaN beyond
            its last one.
        item: Shape (n,), interest in the candidate itself.
    """
    given = ~np.isnan(topics)
    known = np.where(given, topics, 0.0)
    total = known.sum(axis=1)
    n_topics = given.sum(axis=1)
    share = total / np.maximum(n_topics, 1) / (interest + SHARE_WEIGHT)
    strongest = known.max(axis=1, initial=0.0)
    columns = (interest, total, strongest, share, item, n_topics.astype(np.float64))
    return np.stack(columns, axis=1).astype(np.float32)


def affinity_of(
    state: State | None, candidates: Sequence[Candidate], at: int
) -> NDArray[np.float32]:
    """Affinity features of one recipient for each candidate at a moment (microseconds)."""
    (found,) = affinities([state], tuple(candidates), at)
    return np.asarray(found)


def is_cold(affinities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether rows of affinity features are of somebody without interests, shape (n,)."""
    return np.asarray(affinities[..., _INTEREST] < COLD)


def cohort_matrix(affinities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features of `definitions.cohort.FEATURES`, shape (n, 2).

    Args:
        affinities: Of a cohort, as if it were a recipient; shape (n, 6).
    """
    share = affinities[:, _ITEM] / (affinities[:, _INTEREST] + np.float32(SHARE_WEIGHT))
    return np.stack([affinities[:, _TOPICS], share], axis=1)


def affinities(
    states: Sequence[State | None],
    candidates: tuple[Candidate, ...],
    at: int,
    *,
    affinity: Affinity = AFFINITY,
) -> NDArray[np.float32]:
    """The same of several recipients or cohorts for the same candidates, (n, n_candidates, 6)."""
    return affinities_of(OfStates(states), candidates, at, affinity=affinity)


def affinities_of(
    interests: Interests,
    candidates: tuple[Candidate, ...],
    at: int,
    *,
    affinity: Affinity = AFFINITY,
) -> NDArray[np.float32]:
    """The same of interests that lie elsewhere than in states."""
    n, told = len(candidates), _told_by(candidates)
    sums = interests.sums(told.keys, at, affinity)
    topics = np.full((len(sums), n, told.width), np.nan)
    topics[:, told.rows, told.columns] = sums[:, : len(told.rows)]
    found = affinity_matrix(
        np.repeat(sums[:, -1], n),
        topics.reshape(-1, told.width),
        sums[:, len(told.rows) : -1].reshape(-1),
    )
    return found.reshape(len(sums), n, -1)


class _Told(NamedTuple):
    """The interests that candidates are judged by.

    Args:
        keys: Of every topic of every candidate, of every candidate, and of all together.
        rows, columns: Where a topic stands: its candidate, and its place among the topics.
        width: The most topics of a candidate, at least one.
    """

    keys: list[int]
    rows: list[int]
    columns: list[int]
    width: int


@lru_cache(maxsize=256)  # a mailing asks for the same ones again and again
def _told_by(candidates: tuple[Candidate, ...]) -> _Told:
    places = [(row, c, t) for row, one in enumerate(candidates) for c, t in enumerate(one.topics)]
    keys = [key_hash("topic", topic) for _, _, topic in places]
    keys += [key_hash("content", candidate.content_id) for candidate in candidates]
    rows, columns = [row for row, _, _ in places], [column for _, column, _ in places]
    return _Told([*keys, TOTAL_KEY], rows, columns, max(columns, default=0) + 1)
