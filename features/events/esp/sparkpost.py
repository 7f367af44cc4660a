"""SparkPost's (Bird's) event webhook: HTTP Basic, batches, ids on every event.

Source: github.com/SparkPost/support-docs, webhook event reference.
"""

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
from features.events.schema import Actor
from features.events.schema import EventType as E

_KINDS: Final = {
    "injection": E.SENT,
    "delivery": E.DELIVERED,
    "bounce": E.BOUNCED,
    "out_of_band": E.BOUNCED,
    "delay": E.DEFERRED,
    "policy_rejection": E.DROPPED,
    "generation_failure": E.DROPPED,
    "generation_rejection": E.DROPPED,
    "spam_complaint": E.COMPLAINED,
    "open": E.OPENED,
    "initial_open": E.OPENED,
    "amp_open": E.OPENED,
    "amp_initial_open": E.OPENED,
    "click": E.CLICKED,
    "amp_click": E.CLICKED,
    "list_unsubscribe": E.UNSUBSCRIBED,
    "link_unsubscribe": E.UNSUBSCRIBED,
}


class SparkPost:
    """Secrets are `user:password`."""

    provider = "sparkpost"

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """The password in the Authorization header."""
        check_password(self.provider, delivery, credentials)

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """One event per `msys` object; an empty one is a ping."""
        del credentials
        for item in objects_of(self.provider, json_of(self.provider, delivery.raw)):
            events = item.get("msys")
            if not isinstance(events, dict):
                events = {"": item}
            for event in events.values():
                yield _told(event) if isinstance(event, dict) else Told(None, "", None, raw=event)


def _told(event: dict[str, Any]) -> Told:
    kind = _KINDS.get(text(event.get("type")))
    agent = text(event.get("user_agent"))
    actor, reasons = opener(kind, agent)
    if event.get("is_prefetched") in (True, "true") and kind is E.OPENED:
        actor, reasons = Actor.UNKNOWN, ("is_prefetched",)
    stamp = event.get("timestamp")
    if isinstance(stamp, str) and stamp.isascii() and stamp.isdecimal() and len(stamp) < 12:
        stamp = int(stamp)
    return Told(
        kind=kind,
        event_id=text(event.get("event_id")),
        occurred_at=stamp,
        address=text(event.get("rcpt_to") or event.get("raw_rcpt_to")),
        metadata=mapping(event.get("rcpt_meta")),
        message_key=text(event.get("message_id")),
        send_id=text(event.get("campaign_id")),
        url=text(event.get("target_link_url")),
        text=text(event.get("subject")),
        actor=actor,
        reasons=reasons,
        user_agent=agent,
        properties={
            "bounce_class": text(event.get("bounce_class")),
            "pixel": "top" if "initial" in text(event.get("type")) else "",
        },
        raw=event,
    )
