"""Affinity: how much of one person's interest goes to each topic and each item."""

from dataclasses import dataclass

from features.events.schema import EventType as E
from features.kinds import DAY


@dataclass(frozen=True, slots=True)
class Affinity:
    """Weights by event type and the half-life (seconds) of a taste."""

    half_life: float
    weights: dict[E, float]


# Taste fades slowly: half-lives of a month are worse than none for repeat interest.
AFFINITY = Affinity(
    half_life=182 * DAY,
    weights={
        E.OPENED: 0.5,
        E.CLICKED: 3.0,
        E.PAGE_VIEWED: 0.5,
        E.PRODUCT_VIEWED: 1.0,
        E.CART_ADDED: 3.0,
        E.PURCHASED: 4.0,
    },
)


# What `assemble` reads of a recipient's affinity map for one candidate; names and meanings.
FEATURES: tuple[tuple[str, str], ...] = (
    ("interest", "all of the recipient's interest, decayed"),
    ("topic_affinity", "interest in the candidate's topics, summed"),
    ("topic_affinity_max", "interest in the candidate's strongest topic"),
    ("topic_affinity_share", "interest in the candidate's topics over all interest, shrunk"),
    ("item_affinity", "interest in this very item"),
    ("n_topics", "how many topics the candidate has"),
)
