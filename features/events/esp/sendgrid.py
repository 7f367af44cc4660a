"""SendGrid's event webhook: ECDSA over timestamp and body, events with an id of their own.

Source: docs.sendgrid.com, event webhook reference and security features.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from typing import Any, Final

from features.events.esp.adapter import (
    METADATA,
    Credentials,
    Delivery,
    Told,
    WebhookRefusedError,
    check_age,
    json_of,
    objects_of,
    text,
)
from features.events.esp.signatures import ecdsa_sha256
from features.events.schema import Actor
from features.events.schema import EventType as E

RETRIES_S: Final = 25 * 3_600  # it tries again for 24 hours
_SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
_TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
_KINDS: Final = {
    "processed": E.SENT,
    "deferred": E.DEFERRED,
    "delivered": E.DELIVERED,
    "bounce": E.BOUNCED,
    "dropped": E.DROPPED,
    "open": E.OPENED,
    "click": E.CLICKED,
    "spamreport": E.COMPLAINED,
    "unsubscribe": E.UNSUBSCRIBED,
    "group_unsubscribe": E.UNSUBSCRIBED,
    "group_resubscribe": E.RESUBSCRIBED,
}


class SendGrid:
    """Secrets are the public keys that SendGrid shows (base64 of DER)."""

    provider = "sendgrid"

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """The signature covers the timestamp header and the raw body."""
        stamp = delivery.headers.get(_TIMESTAMP, "")
        try:
            signature = b64decode(delivery.headers.get(_SIGNATURE, ""), validate=True)
            signed_at = int(stamp) if len(stamp) < 12 else 0
        except (Base64Error, ValueError):
            signature, signed_at = b"", 0
        signed = stamp.encode(errors="surrogatepass") + delivery.raw
        if not any([ecdsa_sha256(key, signature, signed) for key in credentials.secrets]):  # noqa: C419
            remedy = "set the verification key that SendGrid shows for this webhook"
            raise WebhookRefusedError(self.provider, "the signature does not match", remedy)
        check_age(self.provider, signed_at, delivery, most_s=RETRIES_S)

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """One event per object; unique arguments stand beside its fields."""
        del credentials
        for item in objects_of(self.provider, json_of(self.provider, delivery.raw)):
            kind = _KINDS.get(text(item.get("event")))
            actor, reasons = _actor(item, kind)
            message = text(item.get("sg_message_id")).split(".", 1)[0]
            yield Told(
                kind=kind,
                event_id=text(item.get("sg_event_id")),
                occurred_at=item.get("timestamp"),
                address=text(item.get("email")),
                metadata={name: item[name] for name in METADATA if name in item},
                message_key=message,
                send_id=text(item.get("marketing_campaign_id")),
                url=text(item.get("url")),
                actor=actor,
                reasons=reasons,
                user_agent=text(item.get("useragent")),
                properties={
                    "reason": text(item.get("reason")),
                    "bounce_class": text(item.get("type")) if kind is E.BOUNCED else "",
                },
                raw=item,
            )


def _actor(item: dict[str, Any], kind: E | None) -> tuple[Actor | None, tuple[str, ...]]:
    """The flag says "prefetched or opened by somebody whose client prefetches": unknown."""
    if kind is E.OPENED:
        if item.get("sg_machine_open") is True:
            return Actor.UNKNOWN, ("sg_machine_open",)
        return Actor.HUMAN, ()
    return None, ()
