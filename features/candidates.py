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
    listed = [(row, c, t) for row, one in enumerate(candidates) for c, t in enumerate(one.topics)]
    keys = [key_hash("topic", topic) for _, _, topic in listed]
    keys += [key_hash("content", candidate.content_id) for candidate in candidates]
    told = [0.0] * (len(keys) + 1)
    if state is not None:
        told = state.affinities_at([*keys, TOTAL_KEY], at, AFFINITY)
    if listed:
        rows, columns, _ = zip(*listed, strict=True)
        topics[rows, columns] = told[: len(listed)]
    item = np.array(told[len(listed) : -1])
    return affinity_matrix(np.full(n, told[-1]), topics, item)
