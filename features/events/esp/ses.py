"""Amazon SES through SNS: signed envelopes, one mail event inside each.

A valid Amazon signature proves Amazon, not the sender: the topic has to be one of ours, and the
certificate has to come from an SNS host of theirs.

Source: docs.aws.amazon.com, SNS message signatures and SES event publishing.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from features.errors import EventRejectedError
from features.events.agents import opener
from features.events.esp.adapter import (
    Credentials,
    Delivery,
    Told,
    WebhookRefusedError,
    check_age,
    json_of,
    mapping,
    text,
)
from features.events.esp.signatures import rsa_pkcs1
from features.events.schema import SECOND_US, parse_event
from features.events.schema import EventType as E

RETRIES_S: Final = 25 * 3_600
_HOST: Final = r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?"
_AMAZON: Final = re.compile(_HOST + "/[!-~]*")
_CERTIFICATE: Final = re.compile(_HOST + r"/[A-Za-z0-9_.-]+\.pem")
_SIGNED: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SIGNED_TO_CONFIRM: Final = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
_KINDS: Final = {
    "Send": E.SENT,
    "Delivery": E.DELIVERED,
    "DeliveryDelay": E.DEFERRED,
    "Reject": E.DROPPED,
    "Rendering Failure": E.DROPPED,
    "Open": E.OPENED,
    "Click": E.CLICKED,
    "Complaint": E.COMPLAINED,
}
_LISTED: Final = {
    "Bounce": "bouncedRecipients",
    "Complaint": "complainedRecipients",
    "DeliveryDelay": "delayedRecipients",
}


class Ses:
    """Needs the topics that are ours; certificates are fetched from Amazon."""

    provider = "ses"

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """Topic, certificate host, signature and age of the SNS envelope."""
        envelope = mapping(json_of(self.provider, delivery.raw))
        topic = text(envelope.get("TopicArn"))
        if topic not in credentials.topics:
            remedy = "name it in OPPORTUNE_SNS_TOPICS if it is yours"
            raise WebhookRefusedError(self.provider, "the topic is not one of ours", remedy)
        address = text(envelope.get("SigningCertURL"))
        if not _CERTIFICATE.fullmatch(address):
            remedy = "such a delivery is not from Amazon"
            raise WebhookRefusedError(self.provider, "the certificate is not Amazon's", remedy)
        certificate: bytes = credentials.certificate(address)
        signature, version = text(envelope.get("Signature")), text(envelope.get("SignatureVersion"))
        if not rsa_pkcs1(certificate, signature, signed_text(envelope), version=version):
            remedy = "such a delivery is not from Amazon"
            raise WebhookRefusedError(self.provider, "the signature does not match", remedy)
        check_age(self.provider, _sent_at(envelope, delivery), delivery, most_s=RETRIES_S)

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """One event per recipient that the message is about; none for a confirmation."""
        del credentials
        envelope = mapping(json_of(self.provider, delivery.raw))
        if envelope.get("Type") != "Notification":
            return
        try:
            message = mapping(json_of(self.provider, text(envelope.get("Message")).encode()))
        except WebhookRefusedError:  # SES greets a new topic with a sentence
            message = {}
        mail = mapping(message.get("mail"))
        name = text(message.get("eventType") or message.get("notificationType"))
        detail = mapping(message.get(name.split(" ")[0].lower()) or message.get(_lower_first(name)))
        people = _people(name, detail, mail)
        agent = text(detail.get("userAgent"))
        kind = _kind(name, detail)
        actor, reasons = opener(kind, agent)
        tags = {k: v[0] for k, v in mapping(mail.get("tags")).items() if isinstance(v, list) and v}
        # A mail to several people does not say whose open it was.
        if kind in (E.OPENED, E.CLICKED) and len(people) > 1:
            return
        own = text(envelope.get("MessageId"))
        for place, address in enumerate(people or [""]):
            yield Told(
                kind=kind,
                event_id=f"{own}-{place}" if own else "",
                occurred_at=detail.get("timestamp") or mail.get("timestamp"),
                address=address,
                metadata=tags,
                message_key=text(mail.get("messageId")),
                send_id=text(tags.get("ses:configuration-set")),
                url=text(detail.get("link")),
                text=text(mapping(mail.get("commonHeaders")).get("subject")),
                actor=actor,
                reasons=reasons,
                user_agent=agent,
                properties={
                    "bounce_class": text(detail.get("bounceType")),
                    "reason": text(detail.get("complaintFeedbackType") or detail.get("reason")),
                },
                raw=message or envelope.get("Message"),
            )


def confirmation_of(delivery: Delivery) -> str:
    """The address that confirms a verified subscription to one of our topics; "" for others."""
    envelope = mapping(json_of("ses", delivery.raw))
    address = text(envelope.get("SubscribeURL"))
    is_asked = envelope.get("Type") == "SubscriptionConfirmation"
    return address if is_asked and is_amazon(address) else ""


def is_amazon(address: str) -> bool:
    """Whether an address is of an SNS host over https, without a user, port or oddity."""
    return _AMAZON.fullmatch(address) is not None


def signed_text(envelope: dict[str, Any]) -> bytes:
    """What SNS signed: names and values, a line each, in alphabetical order."""
    names = _SIGNED if envelope.get("Type") == "Notification" else _SIGNED_TO_CONFIRM
    present = [name for name in names if envelope.get(name) is not None]
    return "".join(f"{name}\n{text(envelope[name])}\n" for name in present).encode()


def _sent_at(envelope: dict[str, Any], delivery: Delivery) -> float:
    probe = {
        "event_id": "-", "type": "sent", "recipient_key": "-",
        "occurred_at": envelope.get("Timestamp"),
    }  # fmt: skip
    try:
        event = parse_event(probe, received_at=delivery.received_at + 10**15)
    except EventRejectedError as error:
        remedy = "such a delivery is not from Amazon"
        raise WebhookRefusedError("ses", "it does not say when it was sent", remedy) from error
    return event.occurred_at / SECOND_US


def _kind(name: str, detail: dict[str, Any]) -> E | None:
    if name == "Bounce":
        return E.DEFERRED if detail.get("bounceType") == "Transient" else E.BOUNCED
    if name == "Subscription":
        wish = mapping(detail.get("newTopicPreferences"))
        return E.UNSUBSCRIBED if wish.get("unsubscribeAll") else None
    return _KINDS.get(name)


def _people(name: str, detail: dict[str, Any], mail: dict[str, Any]) -> list[str]:
    found = detail.get(_LISTED.get(name, "recipients"))
    if not isinstance(found, list) or not found:
        found = mail.get("destination")
    entries = found if isinstance(found, list) else []
    return [text(e.get("emailAddress")) if isinstance(e, dict) else text(e) for e in entries]


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:].replace(" ", "")
