"""Content features: how one item does with everybody."""

from features.definitions.recipient import active, clicked, delivered
from features.events.schema import EventType as E
from features.kinds import DAY, FOREVER, Decayed, Rate, Recency, Tenure
from features.signals import Signal
from features.spec import FeatureView

# Interest that people show in an item, wherever they meet it.
chosen = Signal("chosen", frozenset({E.CLICKED, E.PRODUCT_VIEWED, E.CART_ADDED, E.PURCHASED}))
exposed = Signal("delivered", delivered.types, delivered.actors)
followed = Signal("clicked", clicked.types)  # of an item, a scanner today says nothing of last week
exposed_week, exposed_month = Decayed(exposed, 7 * DAY), Decayed(exposed, 30 * DAY)
followed_week, followed_month = Decayed(followed, 7 * DAY), Decayed(followed, 30 * DAY)
present = Signal("present", active.types | delivered.types)

VIEW = FeatureView(
    name="content_features",
    entity="content",
    ttl_s=3_650 * DAY,
    active=Signal("active", active.types, per_hour=True),
    features=(
        exposed_week,
        exposed_month,
        Decayed(exposed, 91 * DAY),
        followed_week,
        followed_month,
        Decayed(followed, 91 * DAY),
        Decayed(chosen, 7 * DAY),
        Decayed(chosen, 30 * DAY),
        Decayed(chosen, 91 * DAY),
        Decayed(chosen, FOREVER),
        Rate(followed_week, exposed_week, prior=0.02, prior_weight=50.0, pooled=True),
        Rate(followed_month, exposed_month, prior=0.02, prior_weight=50.0, pooled=True),
        Recency(chosen),
        Tenure(present),
    ),
)
