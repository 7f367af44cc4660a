"""What every provider's adapter does: prove who sent a webhook, then read events out of it.

`verify` works on the raw bytes and in constant time; `parse` is pure and can be replayed. Events
name people by the sender's own opaque key where the payload carries one (`recipient_key` in
its metadata), else by a keyed hash of the address; no address leaves this package.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from features.definitions.profile import MAILBOX
from features.errors import FeatureError
from features.events.actor_rules import LINKS
from features.events.esp.mailboxes import mailbox_class
from features.events.schema import MAX_TEXT_CHARS, SECOND_US, Actor, EventType

FUTURE_S: Final = 5 * 60
# What a sender may hang on a mail so that its events find their way back.
METADATA: Final = ("recipient_key", "send_id", "message_key", "content_id", "topics", LINKS)
_MAX_DEPTH: Final = 64
_WORD: Final = re.compile(r"""[^\s/?&#<>"'(),;|]+""")
_AT: Final = re.compile(r"@|%(?:25)*40")


class WebhookRefusedError(FeatureError):
    """A webhook that is not proven to come from the provider, or cannot be read at all."""

    def __init__(self, provider: str, problem: str, remedy: str) -> None:
        self.provider = provider
        self.problem = problem
        super().__init__(f"{provider} webhook: {problem}; {remedy}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST: lower-cased headers, the bytes as they came, and when (microseconds)."""

    headers: Mapping[str, str]
    raw: bytes
    received_at: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What proves a provider: live secrets (two while one is rotated), and what else it needs.

    Args:
        topics: SNS topics that are ours.
        certificate: Fetches a signing certificate (PEM) from an address already checked.
        is_channel_trusted: Whether the whole channel is proven by other means than a signature.
    """

    secrets: Sequence[str] = ()
    topics: frozenset[str] = frozenset()
    certificate: Any = None
    is_channel_trusted: bool = False

    def __post_init__(self) -> None:
        # An empty secret would prove anybody.
        object.__setattr__(self, "secrets", tuple(s for s in self.secrets if s.strip()))


@dataclass(frozen=True, slots=True)
class Told:
    """One event as a provider told it.

    Args:
        kind: None for a type that means nothing to us; it is kept aside, not lost.
        occurred_at: Seconds or ISO text, as the schema takes it.
        address: Where no opaque key was given; becomes a keyed hash.
        text: A subject line or an item's name, for topics where the sender gave none.
        is_proven: Whether the signature covers this very event.
    """

    kind: EventType | None
    event_id: str
    occurred_at: Any
    address: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    message_key: str = ""
    send_id: str = ""
    url: str = ""
    text: str = ""
    actor: Actor | None = None
    reasons: tuple[str, ...] = ()
    user_agent: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    is_proven: bool = True
    raw: Any = None


class Adapter(Protocol):
    """One provider."""

    provider: str

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """Return if the provider sent these bytes, now.

        Raises:
            WebhookRefusedError: The signature or password is wrong or missing, or it is too
                old or from the future.
        """
        ...

    def parse(self, delivery: Delivery, credentials: Credentials) -> Iterator[Told]:
        """The events of a verified delivery, in order.

        Raises:
            WebhookRefusedError: The body is not what the provider sends.
        """
        ...


def raw_event(told: Told, provider: str, secret: str) -> dict[str, Any]:
    """The fields for `parse_event`; addresses become their keyed hashes wherever they stand.

    A missing id stays missing. What is only told beside (agent, link, reason) is cut to what
    the schema takes: an unsubscribe counts whatever the length of its agent.
    """

    def clean(value: Any) -> Any:
        return hide_addresses(value, secret) if isinstance(value, str) else value

    def cut(value: Any) -> Any:
        return clean(value[:MAX_TEXT_CHARS].replace("\x00", ""))[:MAX_TEXT_CHARS]

    given = {name: told.metadata[name] for name in METADATA if told.metadata.get(name)}
    topics = given.get("topics", [])
    if isinstance(topics, str):
        topics = [part.strip() for part in topics.split("|") if part.strip()]
    message = given.get("message_key") or told.message_key
    if told.address and told.address.strip().lower() in text(message).lower():
        message = clean(message)  # else a Message-ID, which is no address though it has an @
    properties = {LINKS: given.get(LINKS), **told.properties}
    properties[MAILBOX] = mailbox_class(told.address)
    fields: dict[str, Any] = {
        "type": told.kind.value if told.kind else "",
        "event_id": clean(f"{provider}:{told.event_id}") if told.event_id else "",
        "occurred_at": told.occurred_at,
        "recipient_key": given.get("recipient_key") or key_of(told.address, secret),
        "message_key": message,
        "send_id": clean(given.get("send_id") or told.send_id),
        "content_id": clean(given.get("content_id", "")),
        "topics": [clean(topic) for topic in topics] if isinstance(topics, list) else topics,
        "text": told.text[:MAX_TEXT_CHARS].replace("\x00", ""),
        "url": cut(told.url),
        "channel": "email",
        "device": cut(told.user_agent),
        "actor_reasons": [clean(reason) for reason in told.reasons],
        "provider": provider,
        "properties": {k: cut(text(v)) for k, v in properties.items() if text(v)},
    }
    if told.actor is not None:
        fields["actor"] = told.actor.value
    return fields


def key_of(address: str, secret: str) -> str:
    """The opaque key of an address: HMAC-SHA256 of its lower case, 32 hexadecimal digits.

    The same as an import makes with `hash_recipient_key`, so that both name one person alike.
    """
    clean = address.strip().lower()
    if not clean:
        return ""
    return hmac.new(secret.encode(), clean.encode(), hashlib.sha256).hexdigest()[:32]


def hide_addresses(value: str, secret: str) -> str:
    """A text with its keyed hash in place of every word that holds an address.

    >>> hide_addresses("550 no mailbox <ana@example.com>", "s").startswith("550 no mailbox <")
    True
    """
    if not holds_address(value):
        return value
    return _WORD.sub(lambda w: key_of(w[0], secret) if holds_address(w[0]) else w[0], value)


def holds_address(value: str) -> bool:
    """Whether there may be an address in a text, as it is or as it stands in a link."""
    return _AT.search(value) is not None


def check_age(provider: str, sent_at_s: float, delivery: Delivery, *, most_s: float) -> None:
    """Refuse what was signed too long ago or in the future.

    Raises:
        WebhookRefusedError: It lies outside the window.
    """
    age = delivery.received_at / SECOND_US - sent_at_s
    if not -FUTURE_S <= age <= most_s:
        remedy = "check the clocks; an old delivery is not taken again"
        raise WebhookRefusedError(provider, f"it was signed {age:.0f} s ago", remedy)


def same(found: str, expected: str) -> bool:
    """Compare in constant time; any text can be compared."""
    return hmac.compare_digest(found.encode(errors="surrogatepass"), expected.encode())


def check_password(provider: str, delivery: Delivery, credentials: Credentials) -> None:
    """HTTP Basic: the secrets are `user:password`.

    Raises:
        WebhookRefusedError: The header is missing or none of the secrets matches.
    """
    given = delivery.headers.get("authorization", "")
    wanted = [f"Basic {b64encode(secret.encode()).decode()}" for secret in credentials.secrets]
    if not any([same(given, one) for one in wanted]):  # noqa: C419  every one is compared
        remedy = "set the same user:password at the provider and here"
        raise WebhookRefusedError(provider, "the password is wrong or missing", remedy)


def json_of(provider: str, raw: bytes) -> Any:
    """The body as JSON; what is nested too deeply to be written again is left out.

    Raises:
        WebhookRefusedError: It is not JSON.
    """
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        remedy = "nothing of it can be read"
        raise WebhookRefusedError(provider, f"the body is not JSON ({error.msg})", remedy) from None
    try:
        orjson.dumps(found)
    except orjson.JSONEncodeError:
        return _shallow(found, _MAX_DEPTH)
    return found


def objects_of(provider: str, value: Any) -> list[dict[str, Any]]:
    """A list of objects; one object alone is a list of one.

    Raises:
        WebhookRefusedError: It is something else.
    """
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise WebhookRefusedError(provider, "the body holds no events", "check the endpoint")
    return items


def text(value: Any) -> str:
    """A text or number as text; nothing for null, lists and objects."""
    return str(value) if isinstance(value, str | int | float) else ""


def mapping(value: Any) -> dict[str, Any]:
    """A value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def _shallow(value: Any, depth: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {name: _shallow(item, depth - 1) for name, item in value.items()}
    return [_shallow(item, depth - 1) for item in value]
