"""What a recipient's interests say of one candidate: affinity features, shared by both sides.

Serving reads one recipient's packed state, training reads many moments through `batch`; both
hand the same sums to `affinity_matrix`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.definitions.affinity import AFFINITY
from features.spec import key_hash
from features.state import TOTAL_KEY, State

SHARE_WEIGHT: Final = 5.0  # interest that a recipient without a history is taken to have

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
    n = len(candidates)
    width = max((len(candidate.topics) for candidate in candidates), default=0)
    topics = np.full((n, max(width, 1)), np.nan)
    item = np.zeros(n)
    interest = 0.0
    for row, candidate in enumerate(candidates):
        for column, topic in enumerate(candidate.topics):
            topics[row, column] = _value(state, key_hash("topic", topic), at)
        item[row] = _value(state, key_hash("content", candidate.content_id), at)
    if n:
        interest = _value(state, TOTAL_KEY, at)
    return affinity_matrix(np.full(n, interest), topics, item)


def _value(state: State | None, key: int, at: int) -> float:
    return 0.0 if state is None else state.affinity_at(key, at, AFFINITY)
