"""A provider's delivery to durable events: verified, parsed, stored, counted; no HTTP here.

Accepted only after the durable write. What is no event of ours (an unknown type, a broken one,
one that the signature does not cover) is kept in quarantine, so that nothing is lost.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final
from urllib.request import urlopen

from features.errors import EventRejectedError, StoreUnavailableError
from features.events.esp import ADAPTERS
from features.events.esp.adapter import (
    Credentials,
    Delivery,
    Told,
    WebhookRefusedError,
    key_of,
    raw_event,
)
from features.events.esp.mailgun import signature_of
from features.events.esp.ses import confirmation_of
from features.events.esp.tokens import Tokens
from features.events.intake import Intake
from features.events.log import KEPT_OUT, EventLog
from features.events.quarantine import HASHED, Kept, Quarantine, without_addresses
from features.events.schema import Event, parse_event
from features.events.suppressed import Suppressed

FETCH_TIMEOUT_S: Final = 3.0
_MAX_CERTIFICATES: Final = 64


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery's events."""

    accepted: int
    duplicate: int
    quarantined: int
    erased: int = 0  # of recipients who were erased: stored nowhere


class Webhooks:
    """Takes deliveries of every provider that has credentials.

    Args:
        key_secret: Makes recipient keys of addresses; without one no webhook is taken.
        fetch: Gets an address at Amazon that was checked before, for SNS.
        witness: As `Intake` takes it.
    """

    def __init__(
        self,
        log: EventLog,
        quarantine: Quarantine,
        credentials: Mapping[str, Credentials],
        *,
        key_secret: str,
        fetch: "Fetch | None" = None,
        witness: Callable[[Sequence[Event]], None] = lambda _: None,
    ) -> None:
        self._intake = Intake(log, witness=witness)
        self._suppressed = Suppressed(log.root)
        self._quarantine = quarantine
        self._credentials = credentials
        self._key_secret = key_secret
        self._tokens = Tokens(quarantine.root)
        self._fetch = fetch or over_https

    def is_configured(self, provider: str) -> bool:
        """Whether deliveries of a provider can be proven here."""
        return provider in ADAPTERS and provider in self._credentials and bool(self._key_secret)

    def take(self, provider: str, delivery: Delivery) -> Taken:
        """Verify, store and count one delivery; taking it again changes nothing.

        Raises:
            WebhookRefusedError: The provider is not configured or does not prove itself.
            StoreUnavailableError: Nothing of the delivery could be stored; send it again.
        """
        adapter, credentials = ADAPTERS.get(provider), self._credentials.get(provider)
        if adapter is None or credentials is None or not self._key_secret:
            remedy = "set OPPORTUNE_WEBHOOK_SECRETS and OPPORTUNE_KEY_SECRET"
            raise WebhookRefusedError(provider, "no credentials are configured", remedy)
        adapter.verify(delivery, credentials)
        if provider == "mailgun":
            _, token, _ = signature_of(delivery)
            self._tokens.check(provider, token, delivery)
        if provider == "ses" and (address := confirmation_of(delivery)):
            self._fetch(address)
        events: list[Event] = []
        kept: list[Kept] = []
        for told in adapter.parse(delivery, credentials):
            event = self._event(told, provider, delivery.received_at)
            if isinstance(event, Event):
                events.append(event)
            else:
                kept.append(event)
        outside = self._of_erased(kept)
        kept = [item for item in kept if item.item not in outside]
        self._quarantine.add(kept)
        offsets = self._intake.take(events)
        duplicate, erased = offsets.count(None), offsets.count(KEPT_OUT)
        accepted = len(offsets) - duplicate - erased
        return Taken(accepted, duplicate, len(kept), erased + len(outside))

    def _of_erased(self, kept: Sequence[Kept]) -> set[str]:
        """The items that name somebody who was erased: they are kept nowhere."""
        named = {one.item: set(HASHED.findall(one.item)) for one in kept}
        gone = self._suppressed.among({key for keys in named.values() for key in keys})
        return {item for item, keys in named.items() if keys & gone}

    def _event(self, told: Told, provider: str, received_at: int) -> Event | Kept:
        if told.kind is None:
            return self._kept(told, provider, received_at, "unknown_type")
        if not told.is_proven:
            return self._kept(told, provider, received_at, "not_covered_by_the_signature")
        try:
            raw = raw_event(told, provider, self._key_secret)
            return parse_event(raw, received_at=received_at)
        except EventRejectedError as error:
            return self._kept(told, provider, received_at, error.reason.value)

    def _kept(self, told: Told, provider: str, received_at: int, reason: str) -> Kept:
        item = without_addresses(told.raw, lambda address: key_of(address, self._key_secret))
        return Kept(provider, received_at, reason, item)


class Certificates:
    """Fetches signing certificates over https and keeps them."""

    def __init__(self, fetch: "Fetch | None" = None) -> None:
        self._fetch = fetch or over_https
        self._known: dict[str, bytes] = {}

    def __call__(self, address: str) -> bytes:
        """The certificate at an address that was checked before.

        Raises:
            StoreUnavailableError: It cannot be fetched now; the delivery is to be sent again.
        """
        if address not in self._known:
            found = self._fetch(address)
            if len(self._known) >= _MAX_CERTIFICATES:
                self._known.clear()
            self._known[address] = found
        return self._known[address]


Fetch = Callable[[str], bytes]


def over_https(address: str) -> Any:
    """Get an address whose scheme and host were checked by `ses.is_amazon`.

    Raises:
        StoreUnavailableError: It does not answer.
    """
    context = ssl.create_default_context()
    try:
        with urlopen(address, timeout=FETCH_TIMEOUT_S, context=context) as answer:  # noqa: S310
            return answer.read(65_536)
    except (OSError, HTTPException) as error:
        raise StoreUnavailableError("SNS", str(error), "send the delivery again") from error
