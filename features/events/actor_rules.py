"""The rules that tell machines from people by one recipient's mail events: pure and local.

Times count from `delivered`, never from `sent`. An open and a click in the same moment say
nothing: a client that loads images for its reader does just that. More events can only make
more rules hold, and all events of one rule lie within `NEAR_US` (`FAR_US` for the number of
links that a mail declares), so that a batch needs to be seen with its neighbours only.

Failure modes: a person who opens three mails' links in ten seconds is taken for a machine; a
scanner that comes later than three minutes under a browser's name, one link at a time, for a
person.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from features.events.actors import LABELLED, ActorReason, Finding
from features.events.agents import Agent, agent_of
from features.events.schema import DAY_US, SECOND_US, Event
from features.events.schema import EventType as E

AT_ONCE_US: Final = {E.OPENED: 5 * SECOND_US, E.CLICKED: 10 * SECOND_US}
EARLY_US: Final = 180 * SECOND_US
# A gateway looks into a mail before it lets it in; `delivered` is then told after the click.
AHEAD_US: Final = 30 * SECOND_US
BURST_US: Final = 10 * SECOND_US
BURST_LINKS: Final = 3
SAME_SECOND_US: Final = SECOND_US - 1
BURST_OPENS: Final = 3
ALL_LINKS_US: Final = 60 * SECOND_US
FEWEST_LINKS: Final = 3  # of a mail with one or two, a person may well follow all
NEAR_US: Final = EARLY_US
FAR_US: Final = 7 * DAY_US
LINKS: Final = "links"
HONEYPOT: Final = "opportune-honeypot"  # in the address of a link that no person can see

_AGENTS: Final = {
    Agent.SCANNER: ActorReason.AGENT_SCANNER,
    Agent.PRIVACY_PROXY: ActorReason.AGENT_PRIVACY_PROXY,
    Agent.IMAGE_PROXY: ActorReason.AGENT_IMAGE_PROXY,
}


def findings(events: Sequence[Event]) -> list[Finding]:
    """Every rule that holds for the opens and clicks among one recipient's mail events.

    Args:
        events: Sent, delivered, opened and clicked, each id once, in any order.
    """
    acted = sorted((e for e in events if e.type in LABELLED), key=_at)
    if not acted:
        return []
    opens = [e for e in acted if e.type is E.OPENED]
    clicks = [e for e in acted if e.type is E.CLICKED]
    found = [finding for event in (*opens, *clicks) for finding in _alone(event)]
    deliveries = OfMail(e for e in events if e.type is E.DELIVERED)
    for event in (*opens, *clicks):
        found += _since_delivery(event, deliveries.of(event))
    linked = [e for e in clicks if e.url]
    found += _dense(linked, ActorReason.LINK_BURST, BURST_US, BURST_LINKS, _url)
    named = [e for e in opens if _mail(e)]
    found += _dense(named, ActorReason.OPEN_BURST, SAME_SECOND_US, BURST_OPENS, _mail)
    found += _every_link(linked, events)
    return found


def links_of(event: Event) -> int:
    """How many links a mail has, where its `sent` or `delivered` says so; else 0."""
    if LINKS not in event.properties or event.type not in (E.SENT, E.DELIVERED):
        return 0
    text = str(event.properties[LINKS])
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


class OfMail:
    """Events by the mail they are about: the same `message_key`, else the same `send_id`."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._message: dict[str, list[Event]] = defaultdict(list)
        self._send: dict[str, list[Event]] = defaultdict(list)
        self._bare: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            if event.message_key:
                self._message[event.message_key].append(event)
            elif event.send_id:
                self._bare[event.send_id].append(event)
            if event.send_id:
                self._send[event.send_id].append(event)

    def of(self, event: Event) -> list[Event]:
        """Those about the same mail as an event; none when it names no mail."""
        if event.message_key:
            return self._message.get(event.message_key, []) + self._bare.get(event.send_id, [])
        return self._send.get(event.send_id, [])


def _alone(event: Event) -> Iterator[Finding]:
    """What one event says by itself."""
    reason = _AGENTS.get(agent_of(event.device)) if event.device else None
    if reason is ActorReason.AGENT_SCANNER or (reason and event.type is E.OPENED):
        yield Finding(event.event_id, reason, event.received_at)
    if HONEYPOT in event.url or event.properties.get("honeypot") in (True, 1, "true", "1"):
        yield Finding(event.event_id, ActorReason.HONEYPOT, event.received_at)


def _since_delivery(event: Event, deliveries: Iterable[Event]) -> Iterator[Finding]:
    at_once = AT_ONCE_US[event.type]
    for delivery in deliveries:
        after = event.occurred_at - delivery.occurred_at
        known_at = max(event.received_at, delivery.received_at)
        if -AHEAD_US <= after <= at_once:
            is_open = event.type is E.OPENED
            reason = ActorReason.OPENED_AT_ONCE if is_open else ActorReason.CLICKED_AT_ONCE
            yield Finding(event.event_id, reason, known_at)
        elif at_once < after <= EARLY_US and event.type is E.CLICKED:
            yield Finding(event.event_id, ActorReason.EARLY, known_at)


def _dense(
    events: Sequence[Event],
    reason: ActorReason,
    span: int,
    least: int,
    key: Callable[[Event], str],
) -> Iterator[Finding]:
    """The events, in order of time, of every span that holds `least` different keys.

    `known_at` may be late, where an older event was received later, but is never early.
    """
    if len(events) < least:
        return
    known = list(accumulate((e.received_at for e in events), max))
    inside: Counter[str] = Counter()
    left = told = 0
    for right, event in enumerate(events):
        inside[key(event)] += 1
        while event.occurred_at - events[left].occurred_at > span:
            gone = key(events[left])
            inside[gone] -= 1
            if not inside[gone]:
                del inside[gone]
            left += 1
        if len(inside) >= least:
            for one in events[max(left, told) : right + 1]:
                yield Finding(one.event_id, reason, known[right])
            told = right + 1


def _every_link(clicks: Sequence[Event], events: Iterable[Event]) -> Iterator[Finding]:
    declared = [e for e in events if links_of(e) >= FEWEST_LINKS] if clicks else []
    if not declared:
        return
    by_mail = OfMail(clicks)
    for mail in declared:
        first, last = mail.occurred_at - AHEAD_US, mail.occurred_at + FAR_US
        own = sorted((e for e in by_mail.of(mail) if first <= e.occurred_at <= last), key=_at)
        for found in _dense(own, ActorReason.EVERY_LINK, ALL_LINKS_US, links_of(mail), _url):
            yield found._replace(known_at=max(found.known_at, mail.received_at))


def _at(event: Event) -> tuple[int, str]:
    return event.occurred_at, event.event_id


def _url(event: Event) -> str:
    return event.url


def _mail(event: Event) -> str:
    return event.message_key or event.send_id


def by_recipient(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events of each recipient, in the order given."""
    groups: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        groups[event.recipient_key].append(event)
    return groups
