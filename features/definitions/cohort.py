"""Cohorts: what the people of one country take to, for those who have shown no interest yet.

An event belongs to the cohort that it tells of itself (`Event.cohort`), never to one that a
recipient's profile had when it was folded: so a cohort's sums are the same in whatever order
events arrive. They hold no person.

Source: measured on Online Retail, `docs/models.md`.
"""

from features.definitions.affinity import AFFINITY, Affinity
from features.definitions.content import chosen
from features.definitions.recipient import active
from features.kinds import DAY, Decayed
from features.signals import Signal
from features.spec import FeatureView

VIEW = FeatureView(
    name="cohort_features",
    entity="cohort",
    ttl_s=3_650 * DAY,
    active=Signal("active", active.types, per_hour=True),
    features=(Decayed(chosen, 30 * DAY),),
)
# What a country buys changes with the month: of 30, 91 and 182 days the shortest orders best.
TASTES = Affinity(half_life=30 * DAY, weights=AFFINITY.weights)

# What a candidate is given of the cohort of somebody without interests; names and meanings.
FEATURES: tuple[tuple[str, str], ...] = (
    ("cohort_topic_share", "the cohort's interest in the candidate's topics over all, shrunk"),
    ("cohort_item_share", "the cohort's interest in this very item over all, shrunk"),
)
