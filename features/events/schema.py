"""The event: the one thing the product learns from.

`parse_event` turns a mapping (a JSON object, a row of an import) into an `Event` or raises
`EventRejectedError` with a reason from a closed set. Times are integer microseconds since
1970 in UTC from here on; the local hour is kept as the offset that held at that moment, so
that a recipient who moves does not rewrite history.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from features.errors import EventRejectedError, RejectReason
from features.events.words import topics_of

SCHEMA_VERSION: Final = 1
SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US

MAX_KEY_CHARS: Final = 256
MAX_TEXT_CHARS: Final = 2_048
MAX_TOPICS: Final = 32
MAX_PROPERTIES: Final = 64
MAX_SKEW_US: Final = 5 * 60 * SECOND_US
EARLIEST_US: Final = 631_152_000 * SECOND_US  # 1990-01-01: an older time is a unit mistake
LATEST_US: Final = 4_102_444_800 * SECOND_US  # 2100-01-01
EARLY: Final = "within_180s"  # the reason of a click soon after delivery: doubtful evidence
TARGET: Final = "event_id"  # the property of `relabelled` that names the event concerned
COUNTRY: Final = "country"  # the property that tells the cohort of an event
COHORT: Final = "cohort"  # that of `relabelled` which tells the cohort of the event concerned
MAX_WORD_CHARS: Final = 32  # kept of a country and of other words of a profile
# Files beside the zones: the machine's own clock, a rule of POSIX, and clocks with leap seconds.
_NO_ZONES: Final = ("localtime", "posixrules", "Factory", "posix/", "right/")


class EventType(StrEnum):
    """What happened. The order is part of the storage format: append, never reorder."""

    SENT = "sent"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    DROPPED = "dropped"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"
    PAGE_VIEWED = "page_viewed"
    PRODUCT_VIEWED = "product_viewed"
    SEARCHED = "searched"
    CART_ADDED = "cart_added"
    CART_REMOVED = "cart_removed"
    CHECKOUT_STARTED = "checkout_started"
    PURCHASED = "purchased"
    SIGNED_UP = "signed_up"
    CONSENT_GRANTED = "consent_granted"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    PROFILE_UPDATED = "profile_updated"
    DECISION = "decision"
    ERASED = "erased"
    RELABELLED = "relabelled"  # `actor` is what the event named in the properties really was


class Actor(StrEnum):
    """Who acted. `unknown` is censored: neither engagement nor its absence."""

    HUMAN = "human"
    MACHINE = "machine"
    UNKNOWN = "unknown"


_NOTHING: Final[Mapping[str, Any]] = {}


class Event(NamedTuple):
    """One thing that happened to or was done by one recipient.

    `occurred_at` and `received_at` are microseconds since 1970 in UTC: when it happened and
    when we learnt it. `value` is NaN where none was given; `utc_offset_min` is None where the
    local clock is unknown.
    """

    event_id: str
    type: EventType
    recipient_key: str
    occurred_at: int
    received_at: int
    send_id: str = ""
    message_key: str = ""
    content_id: str = ""
    topics: tuple[str, ...] = ()
    url: str = ""
    value: float = math.nan
    currency: str = ""
    channel: str = ""
    utc_offset_min: int | None = None
    timezone: str = ""
    device: str = ""
    actor: Actor = Actor.HUMAN
    actor_reasons: tuple[str, ...] = ()
    provider: str = ""
    schema_version: int = SCHEMA_VERSION
    properties: Mapping[str, Any] = _NOTHING

    @property
    def cohort(self) -> str:
        """The country that the event tells of, "" where it tells none; a label tells its event's.

        That of a recipient is in the profile; this one is of the event alone.
        """
        name = COHORT if self.type is EventType.RELABELLED else COUNTRY
        told = self.properties.get(name)
        return told.replace("\x1f", " ")[:MAX_WORD_CHARS] if isinstance(told, str) else ""


TYPES: Final = {kind.value: kind for kind in EventType}
ACTORS: Final = {actor.value: actor for actor in Actor}
_TEXTS: Final = ("send_id", "message_key", "content_id", "url", "currency", "device", "provider")
_CHANNELS: Final = frozenset({"", "email", "web", "app"})
TEXT: Final = "text"  # gives the topics where none are given, and is kept nowhere
FIELDS: Final = frozenset((*Event._fields, TEXT))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_event(raw: Mapping[str, Any], *, received_at: int) -> Event:
    """Check one event and give it its types.

    Args:
        raw: The fields of `Event` by name, and maybe `text`, which gives the topics where there
            are none. Times are ISO 8601 text (naive means UTC) or
            seconds since 1970; `received_at` may be absent and is then the argument.
        received_at: When we learnt it, in microseconds; an event may not lie more than
            five minutes after it.

    Raises:
        EventRejectedError: A field is missing, unknown, too long, not finite, not text, or
            lies in the future; the error names the first such field.
    """
    if not raw.keys() <= FIELDS:
        unknown = [name for name in raw if name not in FIELDS]
        raise EventRejectedError(
            RejectReason.UNKNOWN_FIELD, str(unknown[0])[:MAX_KEY_CHARS], raw[unknown[0]],
            "put it under `properties` or leave it out",
        )  # fmt: skip
    kind = TYPES.get(_required(raw, "type")) if isinstance(raw.get("type"), str) else None
    if kind is None:
        value = _required(raw, "type")
        remedy = "use one of: " + " ".join(TYPES)
        raise EventRejectedError(RejectReason.UNKNOWN_TYPE, "type", value, remedy)
    event_id, recipient_key = raw.get("event_id", ""), raw.get("recipient_key", "")
    is_named = event_id and recipient_key
    if not is_named or not _are_sound((event_id, recipient_key), MAX_KEY_CHARS):
        event_id = _text(_required(raw, "event_id"), "event_id", MAX_KEY_CHARS)
        recipient_key = _text(_required(raw, "recipient_key"), "recipient_key", MAX_KEY_CHARS)
    if "@" in recipient_key or recipient_key.isspace():
        raise _not_opaque(recipient_key)
    given = raw.get
    occurred = _time(raw, "occurred_at")
    learnt = received_at if given("received_at") in (None, "") else _time(raw, "received_at")
    if occurred > min(learnt, received_at) + MAX_SKEW_US or learnt > received_at + MAX_SKEW_US:
        raise EventRejectedError(
            RejectReason.FUTURE_TIME, "occurred_at", raw["occurred_at"],
            "it lies after the moment it was received; check the clock, zone and unit",
        )  # fmt: skip
    zone = given("timezone") or ""
    zone = _text(zone, "timezone", MAX_KEY_CHARS) if zone else ""
    told = given("properties")
    properties = _properties(told) if told else _NOTHING
    if kind is EventType.RELABELLED:
        _required(raw, "actor")
        _text(_required(properties, TARGET), TARGET, MAX_KEY_CHARS)
    topics, reasons = given("topics"), given("actor_reasons")
    texts = [given(name) or "" for name in _TEXTS]
    if not _are_sound(texts, MAX_TEXT_CHARS):
        named = zip(_TEXTS, texts, strict=True)
        texts = [_text(text, name, MAX_TEXT_CHARS) for name, text in named]
    send_id, message_key, content_id, url, currency, device, provider = texts
    return Event(
        event_id,
        kind,
        recipient_key,
        occurred,
        max(learnt, occurred),
        send_id,
        message_key,
        content_id,
        _texts(topics, "topics") if topics else _topics(given(TEXT)),
        url,
        _number(given("value"), "value"),
        currency,
        _channel(given("channel") or ""),
        _offset(given("utc_offset_min"), zone, occurred),
        zone,
        device,
        _actor(given("actor"), kind),
        _texts(reasons, "actor_reasons") if reasons else (),
        provider,
        SCHEMA_VERSION,
        properties,
    )


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name, or None when there is none of that name."""
    if name.startswith(_NO_ZONES):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        return None


def offset_at(zone: tzinfo, at: int) -> int:
    """Minutes that `zone` is ahead of UTC at a moment in microseconds, daylight saving included."""
    offset = datetime.fromtimestamp(at / SECOND_US, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() / 60)


def _required(raw: Mapping[str, Any], name: str) -> Any:
    value = raw.get(name)
    if value is None or value == "":
        raise EventRejectedError(RejectReason.MISSING_FIELD, name, value, "every event needs it")
    return value


def _not_opaque(recipient_key: str) -> EventRejectedError:
    """What is wrong with a key that is an address, or blank: who could not be erased by it."""
    if "@" in recipient_key:
        return EventRejectedError(
            RejectReason.ADDRESS_AS_KEY, "recipient_key", "(an address, not shown)",
            "send an opaque key such as a keyed hash of the address",
        )  # fmt: skip
    remedy = "a blank key names nobody; send the person's own"
    return EventRejectedError(RejectReason.MISSING_FIELD, "recipient_key", recipient_key, remedy)


def _text(value: Any, name: str, limit: int) -> str:
    is_plain = type(value) is str and value.isascii() and "\x00" not in value
    if is_plain and len(value) <= limit:  # as nearly all are
        return value  # type: ignore[no-any-return]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise EventRejectedError(RejectReason.BAD_VALUE, name, value, "send it as text")
    if len(value) > limit:
        remedy = f"at most {limit} characters are kept"
        raise EventRejectedError(RejectReason.TOO_LONG, name, value, remedy)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            remedy = "send UTF-8 without lone surrogates"
            raise EventRejectedError(RejectReason.BAD_ENCODING, name, value, remedy) from None
    if "\x00" in value:
        raise EventRejectedError(RejectReason.BAD_VALUE, name, value, "remove the NUL character")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise EventRejectedError(RejectReason.BAD_VALUE, name, value, "send a list of texts")
    if len(value) > MAX_TOPICS:
        remedy = f"at most {MAX_TOPICS} entries are kept"
        raise EventRejectedError(RejectReason.TOO_LONG, name, f"{len(value)} entries", remedy)
    if not _are_sound(value, MAX_KEY_CHARS):
        value = [_text(item, name, MAX_KEY_CHARS) for item in value]
    return tuple(dict.fromkeys(value))


def _topics(text: Any) -> tuple[str, ...]:
    return topics_of(_text(text, TEXT, MAX_TEXT_CHARS)) if text else ()


def _are_sound(values: Iterable[Any], limit: int) -> bool:
    """Whether `_text` would take every one as it is, seen at once: nearly all are so."""
    try:
        joined = "".join(values)
    except TypeError:
        return False
    return len(joined) <= limit and joined.isascii() and "\x00" not in joined


def _number(value: Any, name: str) -> float:
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise EventRejectedError(RejectReason.BAD_VALUE, name, value, "send a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise EventRejectedError(RejectReason.BAD_VALUE, name, value, "send a number") from None
    if not math.isfinite(number) or abs(number) > 1e12:
        remedy = "send a finite number below 1e12, or leave the field out"
        raise EventRejectedError(RejectReason.NOT_FINITE, name, value, remedy)
    return number


def _time(raw: Mapping[str, Any], name: str) -> int:
    value = _required(raw, name)
    remedy = "send ISO 8601 with an offset, or seconds since 1970, between 1990 and 2100"
    micros = _micros(value)
    if micros is None or not EARLIEST_US <= micros <= LATEST_US:
        raise EventRejectedError(RejectReason.BAD_TIME, name, value, remedy)
    return micros


def _micros(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * SECOND_US) if abs(value) < 1e12 else None
    elif isinstance(value, datetime):
        moment = value
    else:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds


def _offset(value: Any, zone: str, occurred: int) -> int | None:
    if zone:
        known = zone_of(zone)
        if known is None:
            remedy = "send an IANA name such as Europe/Berlin"
            raise EventRejectedError(RejectReason.BAD_VALUE, "timezone", zone, remedy)
        return offset_at(known, occurred)
    if value is None or value == "":
        return None
    number = _number(value, "utc_offset_min")
    if number != int(number) or not -12 * 60 <= number <= 14 * 60:
        remedy = "send whole minutes from -720 to 840"
        raise EventRejectedError(RejectReason.BAD_VALUE, "utc_offset_min", value, remedy)
    return int(number)


def _channel(value: Any) -> str:
    if not isinstance(value, str) or value not in _CHANNELS:
        raise EventRejectedError(RejectReason.BAD_VALUE, "channel", value, "use email, web or app")
    return value


def _actor(value: Any, kind: EventType) -> Actor:
    """An open that nobody labelled says nothing: mail clients prefetch images."""
    if value is None or value == "":
        return Actor.UNKNOWN if kind is EventType.OPENED else Actor.HUMAN
    actor = ACTORS.get(value) if isinstance(value, str) else None
    if actor is None:
        remedy = "use human, machine or unknown"
        raise EventRejectedError(RejectReason.BAD_VALUE, "actor", value, remedy)
    return actor


def _properties(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_PROPERTIES:
        remedy = f"send an object of at most {MAX_PROPERTIES} plain values"
        raise EventRejectedError(RejectReason.BAD_VALUE, "properties", value, remedy)
    if _are_sound(value, MAX_KEY_CHARS) and _are_sound(value.values(), MAX_TEXT_CHARS):
        return value
    for key, item in value.items():
        name = f"properties.{_text(key, 'properties', MAX_KEY_CHARS)}"
        if isinstance(item, float):
            _number(item, name)
        elif isinstance(item, int) and not -(2**63) <= item < 2**63:
            remedy = "send whole numbers beyond 64 bits as text"
            raise EventRejectedError(RejectReason.BAD_VALUE, name, item, remedy)
        elif item is not None and not isinstance(item, int):
            _text(item, name, MAX_TEXT_CHARS)
    return {str(key): item for key, item in value.items()}
