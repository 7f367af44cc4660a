"""Mailgun's webhook: an HMAC over timestamp and token, which does not cover the body.

So a captured signature would sign any body: a token is taken once, together with the body it
came with (`serving.http.webhooks` remembers it), and old ones are refused.

Source: documentation.mailgun.com, webhooks; open and click bot detection.
"""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any, Final

from features.events.esp.adapter import (
    Credentials,
    Delivery,
    Told,
    WebhookRefusedError,
    check_age,
    json_of,
    mapping,
    same,
    text,
)
from features.events.schema import Actor
from features.events.schema import EventType as E

RETRIES_S: Final = 9 * 3_600  # it tries again for 8 hours
_KINDS: Final = {
    "accepted": E.SENT,
    "rejected": E.DROPPED,
    "delivered": E.DELIVERED,
    "opened": E.OPENED,
    "clicked": E.CLICKED,
    "unsubscribed": E.UNSUBSCRIBED,
    "complained": E.COMPLAINED,
}


class Mailgun:
    """Secrets are HTTP webhook signing keys."""

    provider = "mailgun"

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """HMAC-SHA256 of timestamp and token, in hexadecimal digits."""
        stamp, token, found = signature_of(delivery)
        signed = (stamp + token).encode()
        wanted = [
            hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
            for key in credentials.secrets
        ]
        if not token or not any([same(found, one) for one in wanted]):  # noqa: C419
            remedy = "set the HTTP webhook signing key of this domain"
            raise WebhookRefusedError(self.provider, "the signature does not match", remedy)
        check_age(self.provider, float(stamp), delivery, most_s=RETRIES_S)

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """One event a delivery. Its id is unique within a day only, so the day goes with it."""
        del credentials
        body = json_of(self.provider, delivery.raw)
        data = mapping(mapping(body).get("event-data"))
        name = text(data.get("event"))
        kind = _KINDS.get(name)
        if name == "failed":
            kind = E.BOUNCED if data.get("severity") == "permanent" else E.DEFERRED
        client = mapping(data.get("client-info"))
        actor, reasons = _actor(kind, text(client.get("bot")))
        own, at = text(data.get("id")), data.get("timestamp")
        day = int(at // 86_400) if isinstance(at, int | float) else 0
        headers = mapping(mapping(data.get("message")).get("headers"))
        status = mapping(data.get("delivery-status"))
        campaigns = data.get("campaigns")
        yield Told(
            kind=kind,
            event_id=f"{day}-{own}" if own else "",
            occurred_at=at,
            address=text(data.get("recipient")),
            metadata=mapping(data.get("user-variables")),
            message_key=text(headers.get("message-id")),
            send_id=_campaign(campaigns),
            url=text(data.get("url")),
            text=text(headers.get("subject")),
            actor=actor,
            reasons=reasons,
            user_agent=text(client.get("user-agent")),
            properties={"reason": text(data.get("reason")), "code": text(status.get("code"))},
            raw=data or body,
        )


def signature_of(delivery: Delivery) -> tuple[str, str, str]:
    """Timestamp, token and signature; empty or "0" where they are missing or no numbers."""
    signed = mapping(mapping(json_of("mailgun", delivery.raw)).get("signature"))
    stamp = text(signed.get("timestamp"))
    stamp = stamp if stamp.isascii() and stamp.isdecimal() and len(stamp) < 12 else "0"
    return stamp, text(signed.get("token")), text(signed.get("signature"))


def _actor(kind: E | None, bot: str) -> tuple[Actor | None, tuple[str, ...]]:
    """`apple` and `gmail` prefetch for people who may be there; `generic` is a scanner."""
    if kind not in (E.OPENED, E.CLICKED):
        return None, ()
    if not bot:
        return Actor.HUMAN, ()
    actor = Actor.UNKNOWN if bot in {"apple", "gmail"} else Actor.MACHINE
    return actor, (f"mailgun_bot_{bot}"[:64],)


def _campaign(campaigns: Any) -> str:
    first = campaigns[0] if isinstance(campaigns, list) and campaigns else {}
    return text(mapping(first).get("id"))
