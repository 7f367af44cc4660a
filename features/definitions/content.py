"""Content features: how one item does with everybody."""

from features.definitions.recipient import active, clicked, delivered
from features.events.schema import EventType as E
from features.spec import DAY, FOREVER, Decayed, FeatureView, Rate, Recency, Signal, Tenure

# Interest that people show in an item, wherever they meet it.
chosen = Signal("chosen", frozenset({E.CLICKED, E.PRODUCT_VIEWED, E.CART_ADDED, E.PURCHASED}))
exposed_month = Decayed(delivered, 30 * DAY)
clicked_month = Decayed(clicked, 30 * DAY)
present = Signal("present", active.types | delivered.types)

VIEW = FeatureView(
    name="content_features",
    entity="content",
    ttl_s=3_650 * DAY,
    active=active,
    features=(
        exposed_month,
        clicked_month,
        Decayed(chosen, 7 * DAY),
        Decayed(chosen, 30 * DAY),
        Decayed(chosen, 91 * DAY),
        Decayed(chosen, FOREVER),
        Rate(clicked_month, exposed_month, prior=0.02, prior_weight=50.0),
        Recency(chosen),
        Tenure(present),
    ),
)
