"""Recipient features: how often, how recently and how eagerly one person engages."""

from features.events.schema import EventType as E
from features.spec import (
    ANYONE,
    DAY,
    FOREVER,
    HOUR,
    Decayed,
    FeatureView,
    MeanGap,
    Pending,
    Rate,
    Recency,
    Signal,
    Tenure,
    Velocity,
    Weight,
)

# Mail. Clients that prefetch images open everything: only human opens say anything.
sent = Signal("sent", frozenset({E.SENT}), ANYONE)
delivered = Signal("delivered", frozenset({E.DELIVERED}), ANYONE)
opened = Signal("opened", frozenset({E.OPENED}))
clicked = Signal("clicked", frozenset({E.CLICKED}))
# An opt-out counts whoever clicked it.
opted_out = Signal("opted_out", frozenset({E.UNSUBSCRIBED, E.COMPLAINED}), ANYONE)

# Intent, from browsing to buying.
page_viewed = Signal("page_viewed", frozenset({E.PAGE_VIEWED}))
product_viewed = Signal("product_viewed", frozenset({E.PRODUCT_VIEWED}))
searched = Signal("searched", frozenset({E.SEARCHED}))
cart_added = Signal("cart_added", frozenset({E.CART_ADDED}))
checkout_started = Signal("checkout_started", frozenset({E.CHECKOUT_STARTED}))
purchased = Signal("purchased", frozenset({E.PURCHASED}))
spent = Signal("spent", frozenset({E.PURCHASED}), weight=Weight.VALUE)

# Being there at all. Counted by the hour, so that one visit of twenty pages or one order of
# twenty lines is one sign of life.
ENGAGED = frozenset(
    {E.OPENED, E.CLICKED, E.PAGE_VIEWED, E.PRODUCT_VIEWED, E.SEARCHED, E.CART_ADDED}
    | {E.CART_REMOVED, E.CHECKOUT_STARTED, E.PURCHASED, E.SIGNED_UP}
)
active = Signal("active", ENGAGED, per_hour=True)


def _spans(signal: Signal, *half_lives: float) -> tuple[Decayed, ...]:
    return tuple(Decayed(signal, half_life) for half_life in half_lives)


active_total = Decayed(active, FOREVER)
delivered_month = Decayed(delivered, 30 * DAY)

VIEW = FeatureView(
    name="recipient_features",
    entity="recipient",
    ttl_s=3_650 * DAY,  # a recipient's silence is a feature, not a stale row
    active=active,
    rhythm_half_life=365 * DAY,
    features=(
        # engagement
        *_spans(sent, 7 * DAY, 30 * DAY),
        *_spans(delivered, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(opened, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(clicked, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(active, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 120 * DAY, 365 * DAY, FOREVER),
        Rate(Decayed(opened, 30 * DAY), delivered_month, prior=0.10, prior_weight=10.0),
        Rate(Decayed(clicked, 30 * DAY), delivered_month, prior=0.02, prior_weight=20.0),
        Rate(active_total, Decayed(delivered, FOREVER), prior=0.10, prior_weight=10.0),
        Velocity(Decayed(active, 7 * DAY), Decayed(active, 60 * DAY)),
        Velocity(Decayed(active, 30 * DAY), Decayed(active, 120 * DAY)),
        Velocity(Decayed(clicked, 7 * DAY), Decayed(clicked, 90 * DAY)),
        Recency(active),
        Recency(delivered),
        Recency(opened),
        Recency(clicked),
        Recency(opted_out),
        Tenure(active),
        Tenure(delivered),
        MeanGap(active_total),
        # intent
        *_spans(page_viewed, DAY, 7 * DAY, 30 * DAY),
        *_spans(product_viewed, 6 * HOUR, DAY, 7 * DAY, 14 * DAY),
        *_spans(searched, DAY, 7 * DAY),
        *_spans(cart_added, 6 * HOUR, DAY, 7 * DAY),
        *_spans(checkout_started, 6 * HOUR, 7 * DAY),
        *_spans(purchased, 14 * DAY, 60 * DAY, FOREVER),
        *_spans(spent, 30 * DAY, 120 * DAY, FOREVER),
        Pending(cart_added, purchased, days=7),
        Recency(product_viewed),
        Recency(cart_added),
        Recency(purchased),
    ),
)
