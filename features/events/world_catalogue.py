"""What can be sent in a simulated world, and how well it matches a taste."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.events.world_clock import WEEK_US, Array

TOPICS: Final = (
    "outdoor", "cooking", "garden", "travel", "fitness", "fashion",
    "beauty", "books", "music", "gaming", "home", "family",
)  # fmt: skip
N_ITEMS: Final = 60
_SMOOTHING: Final = 0.02  # keeps the match with a topic of no interest finite


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What can be sent and looked at, one row an item, oldest first.

    Args:
        topics: Shape (n_items, 12), 1 / number of topics where the item has the topic.
        appeal: What the item adds to the log-odds of anybody's interest.
    """

    content_ids: tuple[str, ...]
    topics: Array
    appeal: Array
    price: Array
    published_at: Array

    def n_published(self, at: int) -> int:
        """How many items are out at a moment; they are the first ones."""
        return int(np.searchsorted(self.published_at, at, side="right"))


def match_of(taste: Array, catalogue: Catalogue) -> Array:
    """How much more each recipient likes each item than an even taste does, (n, n_items)."""
    liking = np.log((taste + _SMOOTHING) / (1 / len(TOPICS) + _SMOOTHING))
    return np.asarray((liking @ catalogue.topics.T).astype(np.float32))


def catalogue_of(rng: np.random.Generator, begin: int, end: int) -> Catalogue:
    """A quarter is out before the span, the others come one by one in it."""
    topics = np.zeros((N_ITEMS, len(TOPICS)))
    for item in topics:
        item[rng.choice(len(TOPICS), rng.integers(1, 3), replace=False)] = 1
    later = np.sort(rng.random(N_ITEMS - N_ITEMS // 4)) * 0.9 * (end - begin)
    published = np.concatenate([np.full(N_ITEMS // 4, -WEEK_US), later]).astype(np.int64) + begin
    return Catalogue(
        content_ids=tuple(f"item-{number:03}" for number in range(1, N_ITEMS + 1)),
        topics=topics / topics.sum(axis=1, keepdims=True),
        appeal=rng.normal(0, 0.25, N_ITEMS),
        price=np.round(np.exp(rng.normal(3.3, 0.7, N_ITEMS)), 2),
        published_at=published,
    )
