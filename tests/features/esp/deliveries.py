"""Deliveries as providers send them: payloads of tests/data/esp, signed with keys made here.

Everything is signed by the providers' documentation, not by our code.
"""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from features.events.esp import ADAPTERS
from features.events.esp.adapter import Credentials, Delivery, Told, raw_event
from features.events.schema import DAY_US, SECOND_US, Event, parse_event

DATA = Path(__file__).resolve().parents[2] / "data" / "esp"
NOW = 20_400 * DAY_US  # 2025-11-08; every payload is from the hour before
NOW_S = NOW // SECOND_US
KEY_SECRET = "the sender's own secret"
ADDRESS = "ana@example.com"
TOPIC = "arn:aws:sns:us-east-1:123456789012:mail"
HOST = "https://sns.us-east-1.amazonaws.com"
CERTIFICATE_URL = f"{HOST}/SimpleNotificationService-0123abc.pem"
SECRETS = {
    "mailgun": "mailgun signing key",
    "postmark": "hook:pass:wörd",
    "sparkpost": "spark:password",
    "segment": "segment shared secret",
}


def payload(provider: str, name: str) -> Any:
    return json.loads((DATA / provider / f"{name}.json").read_text())


def payloads(provider: str) -> dict[str, Any]:
    return {path.stem: payload(provider, path.stem) for path in sorted(_files(provider))}


def _files(provider: str) -> list[Path]:
    return list((DATA / provider).glob("*.json"))


def items(provider: str, body: Any) -> list[dict[str, Any]]:
    """The parts of a payload that are one event each, to be changed in place."""
    if provider == "sparkpost":
        return [event for item in body for event in item["msys"].values()]
    if provider == "segment":
        return body.get("batch") or [body]
    return body if isinstance(body, list) else [body]


def with_metadata(provider: str, body: Any, metadata: dict[str, Any]) -> Any:
    """The payload as it comes when the sender hung this metadata on the mail."""
    body = json.loads(json.dumps(body))
    for item in items(provider, body):
        match provider:
            case "sendgrid":
                item.update(metadata)
            case "ses":
                item["mail"]["tags"].update({name: [value] for name, value in metadata.items()})
            case "mailgun":
                item["event-data"]["user-variables"] = metadata
            case "postmark":
                item["Metadata"] = metadata
            case "sparkpost":
                item["rcpt_meta"] = metadata
            case _:
                item["properties"] = item.get("properties", {}) | metadata
    return body


def without_id(provider: str, body: Any) -> Any:
    """The payload without what the provider tells its events apart by."""
    name = {"sendgrid": "sg_event_id", "sparkpost": "event_id", "segment": "messageId"}
    body = json.loads(json.dumps(body))
    for item in items(provider, body):
        if provider == "mailgun":
            item["event-data"].pop("id")
        else:
            item.pop(name[provider])
    return body


def signed_by_sns(envelope: dict[str, Any]) -> bytes:
    """The text that SNS signs, as docs.aws.amazon.com writes it."""
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if envelope["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp"]
        names += ["Token", "TopicArn", "Type"]
    lines = [f"{name}\n{envelope[name]}\n" for name in names if name in envelope]
    return "".join(lines).encode()


def envelope_of(message: str, **more: Any) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(NOW_S, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {
        "Type": "Notification",
        "MessageId": hashlib.md5(message.encode()).hexdigest(),
        "TopicArn": TOPIC,
        "Message": message,
        "Timestamp": stamp,
        "SignatureVersion": "1",
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe",
        **more,
    }


@dataclass
class Keys:
    """One set of keys, and everything signed with them."""

    elliptic: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    amazon: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    )
    secrets: dict[str, str] = field(default_factory=lambda: dict(SECRETS))
    certificate: bytes = b""
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.example.net")])
        since = datetime(2025, 1, 1, tzinfo=UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        builder = builder.not_valid_before(since).not_valid_after(since + timedelta(days=3_650))
        builder = builder.public_key(self.amazon.public_key())
        self.certificate = builder.sign(self.amazon, hashes.SHA256()).public_bytes(Encoding.PEM)
        public = self.elliptic.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.secrets["sendgrid"] = b64encode(der).decode()

    def fetch(self, address: str) -> bytes:
        self.fetched.append(address)
        return self.certificate

    def credentials(self) -> dict[str, Credentials]:
        own = {name: Credentials(secrets=(secret,)) for name, secret in self.secrets.items()}
        ses = Credentials(topics=frozenset({TOPIC}), certificate=self.fetch)
        return {**own, "ses": ses}

    def deliver(self, provider: str, body: Any, *, sent_at: int = NOW_S, **more: Any) -> Delivery:
        """A payload as the provider posts it; `more` goes to what it is wrapped in."""
        if provider == "ses":
            return self.sns(envelope_of(json.dumps(body), **more))
        if provider == "mailgun":
            return self.mailgun(body, sent_at=sent_at, **more)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if provider == "segment":
            listed = body.get("batch") if isinstance(body, dict) else None
            signed = json.dumps(listed[0]).encode() if listed else raw
            return self.segment(raw, signed)
        if provider == "sendgrid":
            return self.sendgrid(raw, str(sent_at))
        return Delivery({"authorization": self.password(provider)}, raw, NOW)

    def sendgrid(self, raw: bytes, stamp: str) -> Delivery:
        found = self.elliptic.sign(stamp.encode() + raw, ec.ECDSA(hashes.SHA256()))
        headers = {
            "x-twilio-email-event-webhook-signature": b64encode(found).decode(),
            "x-twilio-email-event-webhook-timestamp": stamp,
        }
        return Delivery(headers, raw, NOW)

    def segment(self, raw: bytes, signed: bytes) -> Delivery:
        key = self.secrets["segment"].encode()
        return Delivery({"x-signature": hmac.new(key, signed, "sha1").hexdigest()}, raw, NOW)

    def password(self, provider: str) -> str:
        return "Basic " + b64encode(self.secrets[provider].encode()).decode()

    def mailgun(self, body: Any, *, sent_at: int = NOW_S, token: str = "") -> Delivery:
        token = token or hashlib.sha256(json.dumps(body).encode()).hexdigest()[:50]
        signed = f"{sent_at}{token}".encode()
        key = self.secrets["mailgun"].encode()
        signature = {
            "timestamp": str(sent_at),
            "token": token,
            "signature": hmac.new(key, signed, "sha256").hexdigest(),
        }
        return Delivery({}, json.dumps({**body, "signature": signature}).encode(), NOW)

    def sns(self, envelope: dict[str, Any]) -> Delivery:
        kind = hashes.SHA256() if envelope["SignatureVersion"] == "2" else hashes.SHA1()
        found = self.amazon.sign(signed_by_sns(envelope), padding.PKCS1v15(), kind)
        signed = {**envelope, "Signature": b64encode(found).decode()}
        return Delivery({}, json.dumps(signed).encode(), NOW)


def told_by(provider: str, delivery: Delivery, *, is_channel_trusted: bool = False) -> list[Told]:
    credentials = Credentials(is_channel_trusted=is_channel_trusted)
    return list(ADAPTERS[provider].parse(delivery, credentials))


def event_of(told: Told, provider: str) -> Event:
    return parse_event(raw_event(told, provider, KEY_SECRET), received_at=NOW)


def events_of(provider: str, delivery: Delivery) -> Iterator[Event]:
    """What a delivery becomes, without what is kept aside."""
    for told in told_by(provider, delivery, is_channel_trusted=True):
        if told.kind is not None:
            yield event_of(told, provider)


def at(delivery: Delivery, received_s: float) -> Delivery:
    return replace(delivery, received_at=round(received_s * SECOND_US))
