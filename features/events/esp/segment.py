"""Segment's webhooks: an HMAC-SHA1, which in a batch covers the first event only.

The others are kept aside unless the channel is trusted by other means (a private network, a
secret path): anybody who saw one signed event could add to it.

Source: github.com/segmentio/segment-docs, webhooks destination and e-mail spec.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any, Final

from features.events.agents import opener
from features.events.esp.adapter import (
    Credentials,
    Delivery,
    Told,
    WebhookRefusedError,
    json_of,
    mapping,
    objects_of,
    same,
    text,
)
from features.events.schema import EventType as E

_KINDS: Final = {
    "Email Delivered": E.DELIVERED,
    "Email Opened": E.OPENED,
    "Email Link Clicked": E.CLICKED,
    "Email Bounced": E.BOUNCED,
    "Email Marked as Spam": E.COMPLAINED,
    "Unsubscribed": E.UNSUBSCRIBED,
    "Product Viewed": E.PRODUCT_VIEWED,
    "Products Searched": E.SEARCHED,
    "Product Added": E.CART_ADDED,
    "Product Removed": E.CART_REMOVED,
    "Checkout Started": E.CHECKOUT_STARTED,
    "Order Completed": E.PURCHASED,
    "Signed Up": E.SIGNED_UP,
}
_OF_A_PRODUCT: Final = frozenset({E.PRODUCT_VIEWED, E.CART_ADDED, E.CART_REMOVED})


class Segment:
    """Secrets are shared secrets."""

    provider = "segment"

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """HMAC-SHA1 of the body, or of the first event of a batch, in hexadecimal digits.

        Only what `parse` reads as the first event counts as such: a signed event that stands in
        a list anywhere else, or is hidden by a second `batch`, proves nothing.
        """
        found = delivery.headers.get("x-signature", "")
        wanted = [
            hmac.new(key.encode(), part, hashlib.sha1).hexdigest()
            for key in credentials.secrets
            for part in (delivery.raw, _first(self.provider, delivery.raw))
        ]
        if not any([same(found, one) for one in wanted]):  # noqa: C419
            remedy = "set the shared secret of this destination"
            raise WebhookRefusedError(self.provider, "the signature does not match", remedy)

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """One event per message; only what the signature covers is proven."""
        body = json_of(self.provider, delivery.raw)
        batch = _batch(body)
        items = objects_of(self.provider, body if batch is None else batch)
        for place, item in enumerate(items):
            is_proven = place == 0 or credentials.is_channel_trusted
            yield _told(item, is_proven=is_proven)


def _told(item: dict[str, Any], *, is_proven: bool) -> Told:
    properties, context = mapping(item.get("properties")), mapping(item.get("context"))
    kind = E.PAGE_VIEWED if item.get("type") in ("page", "screen") else None
    kind = kind or _KINDS.get(text(item.get("event")))
    agent = text(context.get("userAgent") or context.get("user_agent"))
    actor, reasons = opener(kind, agent)
    person = text(item.get("userId") or item.get("user_id") or item.get("anonymousId"))
    address = person if "@" in person else text(mapping(context.get("traits")).get("email"))
    own = {} if not person or "@" in person else {"recipient_key": person}
    return Told(
        kind=kind,
        event_id=text(item.get("messageId")),
        occurred_at=item.get("timestamp") or item.get("originalTimestamp"),
        address=address,
        metadata=properties | own,
        message_key=text(properties.get("email_id")),
        send_id=text(properties.get("campaign_id")),
        url=text(properties.get("link_url") or properties.get("url")),
        text=text(properties.get("name" if kind in _OF_A_PRODUCT else "email_subject")),
        actor=actor,
        reasons=reasons,
        user_agent=agent,
        is_proven=is_proven,
        raw=item,
    )


def _batch(body: Any) -> list[Any] | None:
    listed = body if isinstance(body, list) else mapping(body).get("batch")
    return listed if isinstance(listed, list) else None


def _first(provider: str, raw: bytes) -> bytes:
    """The bytes of the first event of a batch as they came; the whole for anything else."""
    batch = _batch(json_of(provider, raw))
    if not batch:
        return raw
    try:
        body = raw.decode()
        start = body.index("[") + 1
        start += len(body[start:]) - len(body[start:].lstrip())
        _, end = json.JSONDecoder().raw_decode(body, start)
    except (ValueError, RecursionError):
        return raw
    first = body[start:end].encode()
    return first if json_of(provider, first) == batch[0] else raw
