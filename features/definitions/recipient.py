"""Recipient features: how often, how recently and how eagerly one person engages."""

from features.events.devices import Device
from features.events.schema import Actor
from features.events.schema import EventType as E
from features.kinds import (
    DAY,
    FOREVER,
    HOUR,
    Decayed,
    MeanGap,
    Overdue,
    Pace,
    Pending,
    Rate,
    Recency,
    Streak,
    Tenure,
    Velocity,
    WeeksActive,
)
from features.signals import ANYONE, Signal, Weight
from features.spec import FeatureView

# Machines. One of them makes a recipient's opens, or clicks soon after delivery, say nothing.
prefetched = Signal("prefetched", frozenset({E.OPENED}), frozenset({Actor.MACHINE, Actor.UNKNOWN}))
scanned = Signal("scanned", frozenset({E.CLICKED}), frozenset({Actor.MACHINE}))

# Mail.
sent = Signal("sent", frozenset({E.SENT}), ANYONE)
delivered = Signal("delivered", frozenset({E.DELIVERED}), ANYONE)
bounced = Signal("bounced", frozenset({E.BOUNCED, E.DROPPED}), ANYONE)
opened = Signal("opened", frozenset({E.OPENED}), doubted_by=(prefetched,))
clicked = Signal("clicked", frozenset({E.CLICKED}), doubted_by=(scanned,))
# An opt-out counts whoever clicked it.
opted_out = Signal("opted_out", frozenset({E.UNSUBSCRIBED, E.COMPLAINED}), ANYONE)

# Intent, from browsing to buying.
page_viewed = Signal("page_viewed", frozenset({E.PAGE_VIEWED}))
product_viewed = Signal("product_viewed", frozenset({E.PRODUCT_VIEWED}))
searched = Signal("searched", frozenset({E.SEARCHED}))
cart_added = Signal("cart_added", frozenset({E.CART_ADDED}))
cart_removed = Signal("cart_removed", frozenset({E.CART_REMOVED}))
checkout_started = Signal("checkout_started", frozenset({E.CHECKOUT_STARTED}))
purchased = Signal("purchased", frozenset({E.PURCHASED}))
spent = Signal("spent", frozenset({E.PURCHASED}), weight=Weight.VALUE)

# Being there at all. Counted by the hour, so that one visit of twenty pages or one order of
# twenty lines is one sign of life. A session is an hour that no machine can have made.
ENGAGED = frozenset(
    {E.OPENED, E.CLICKED, E.PAGE_VIEWED, E.PRODUCT_VIEWED, E.SEARCHED, E.CART_ADDED}
    | {E.CART_REMOVED, E.CHECKOUT_STARTED, E.PURCHASED, E.SIGNED_UP}
)
active = Signal("active", ENGAGED, per_hour=True, doubted_by=(prefetched, scanned))
session = Signal("session", ENGAGED, per_hour=True, sure_only=True)

# With what: events without a known device count for neither.
on_mobile = Signal(
    "mobile", ENGAGED - {E.OPENED}, devices=frozenset({Device.MOBILE, Device.TABLET})
)
on_desktop = Signal("desktop", ENGAGED - {E.OPENED}, devices=frozenset({Device.DESKTOP}))
on_known = Signal("device", ENGAGED - {E.OPENED}, devices=on_mobile.devices | on_desktop.devices)


def _spans(signal: Signal, *half_lives: float) -> tuple[Decayed, ...]:
    return tuple(Decayed(signal, half_life) for half_life in half_lives)


active_total = Decayed(active, FOREVER)
delivered_month = Decayed(delivered, 30 * DAY)
delivered_quarter = Decayed(delivered, 90 * DAY)

VIEW = FeatureView(
    name="recipient_features",
    entity="recipient",
    ttl_s=3_650 * DAY,  # a recipient's silence is a feature, not a stale row
    active=active,
    exposed=delivered,
    rhythm_half_life=365 * DAY,
    features=(
        # engagement velocity
        *_spans(sent, 7 * DAY, 30 * DAY),
        *_spans(delivered, DAY, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(bounced, 30 * DAY),
        *_spans(opened, DAY, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(clicked, DAY, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(session, DAY, 7 * DAY, 30 * DAY, 90 * DAY),
        *_spans(active, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 120 * DAY, 365 * DAY, FOREVER),
        Pace(Decayed(sent, 30 * DAY)),
        Pace(delivered_month),
        Rate(Decayed(opened, 30 * DAY), delivered_month, prior=0.10, prior_weight=10.0),
        Rate(Decayed(opened, 90 * DAY), delivered_quarter, prior=0.10, prior_weight=10.0),
        Rate(Decayed(clicked, 30 * DAY), delivered_month, prior=0.02, prior_weight=20.0),
        Rate(Decayed(clicked, 90 * DAY), delivered_quarter, prior=0.02, prior_weight=20.0),
        Rate(active_total, Decayed(delivered, FOREVER), prior=0.10, prior_weight=10.0),
        Velocity(Decayed(active, 7 * DAY), Decayed(active, 60 * DAY)),
        Velocity(Decayed(active, 30 * DAY), Decayed(active, 120 * DAY)),
        Velocity(Decayed(opened, 7 * DAY), Decayed(opened, 90 * DAY)),
        Velocity(Decayed(clicked, 7 * DAY), Decayed(clicked, 90 * DAY)),
        Velocity(Decayed(session, DAY), Decayed(session, 30 * DAY)),
        Velocity(Decayed(delivered, 7 * DAY), delivered_quarter),
        Recency(active),
        Recency(session),
        Recency(delivered),
        Recency(opened),
        Recency(clicked),
        Recency(opted_out),
        Recency(prefetched),
        Recency(scanned),
        Tenure(active),
        Tenure(delivered),
        MeanGap(active_total),
        Overdue(active_total),
        Streak(),
        WeeksActive(12),
        WeeksActive(52),
        # intent
        *_spans(page_viewed, HOUR, DAY, 7 * DAY, 30 * DAY),
        *_spans(product_viewed, HOUR, 6 * HOUR, DAY, 7 * DAY, 14 * DAY),
        *_spans(searched, HOUR, DAY, 7 * DAY, 14 * DAY),
        *_spans(cart_added, HOUR, 6 * HOUR, DAY, 7 * DAY, 14 * DAY),
        *_spans(cart_removed, DAY, 7 * DAY),
        *_spans(checkout_started, HOUR, 6 * HOUR, DAY, 7 * DAY, 14 * DAY),
        *_spans(purchased, HOUR, DAY, 14 * DAY, 60 * DAY, FOREVER),
        *_spans(spent, 14 * DAY, 30 * DAY, 120 * DAY, FOREVER),
        Velocity(Decayed(product_viewed, DAY), Decayed(product_viewed, 14 * DAY)),
        Pending("cart_open", cart_added, purchased, days=7),
        Pending("cart_abandoned", cart_added, purchased, after_days=4 / 24, days=14),
        Pending("checkout_open", checkout_started, purchased, days=7),
        Recency(product_viewed),
        Recency(searched),
        Recency(cart_added),
        Recency(purchased),
        # device mix
        *_spans(on_mobile, 90 * DAY),
        *_spans(on_desktop, 90 * DAY),
        Rate(
            Decayed(on_mobile, 90 * DAY), Decayed(on_known, 90 * DAY), prior=0.5, prior_weight=2.0
        ),
    ),
)
