"""Postmark's webhooks: HTTP Basic, no signature, no event id on deliveries, opens and clicks.

Source: postmarkapp.com/developer/webhooks.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from features.events.agents import opener
from features.events.esp.adapter import (
    Credentials,
    Delivery,
    Told,
    check_password,
    json_of,
    mapping,
    objects_of,
    text,
)
from features.events.schema import EventType as E

_KINDS: Final = {
    "Delivery": E.DELIVERED,
    "Bounce": E.BOUNCED,
    "Open": E.OPENED,
    "Click": E.CLICKED,
    "SpamComplaint": E.COMPLAINED,
}
_TIMES: Final = ("ReceivedAt", "DeliveredAt", "BouncedAt", "ChangedAt")


class Postmark:
    """Secrets are `user:password` of the webhook's address."""

    provider = "postmark"

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """The password in the Authorization header."""
        check_password(self.provider, delivery, credentials)

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """One event a delivery; its id is a hash of what tells it from all others."""
        del credentials
        for item in objects_of(self.provider, json_of(self.provider, delivery.raw)):
            kind = _kind(item)
            agent = text(item.get("UserAgent"))
            actor, reasons = opener(kind, agent)
            yield Told(
                kind=kind,
                event_id=_id(item),
                occurred_at=next((item[name] for name in _TIMES if item.get(name)), None),
                address=text(item.get("Recipient") or item.get("Email")),
                metadata=mapping(item.get("Metadata")),
                message_key=text(item.get("MessageID")),
                send_id=text(item.get("Tag")),
                url=text(item.get("OriginalLink")),
                text=text(item.get("Subject")),
                actor=actor,
                reasons=reasons,
                user_agent=agent,
                properties={
                    "bounce_class": text(item.get("Type")),
                    "reason": text(item.get("SuppressionReason")),
                },
                raw=item,
            )


def _kind(item: dict[str, Any]) -> E | None:
    if item.get("RecordType") == "SubscriptionChange":
        wish = item.get("SuppressSending")
        # Mail starts again only where it says so.
        return E.UNSUBSCRIBED if wish else E.RESUBSCRIBED if wish is False else None
    return _KINDS.get(text(item.get("RecordType")))


def _id(item: dict[str, Any]) -> str:
    names = ("RecordType", "ID", "MessageID", "Recipient", "Email", *_TIMES, "OriginalLink")
    told = "\x1f".join(text(item.get(name)) for name in names)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
