"""Who acted: labels with reasons, and how a wrong one is corrected without rewriting the log.

Evidence only ever raises a label, from human over unknown to machine, and reasons only join: so
it does not matter in which order events arrive. What a person or the sender vouches for
(`confirmed`) no rule touches. Unsubscribes and complaints are never labelled: they always count.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from features.events.schema import COHORT, TARGET, Actor, Event
from features.events.schema import EARLY as WITHIN_180_S
from features.events.schema import EventType as E

OWN: Final = "opportune"  # the provider of a correction that the rules made
LABELLED: Final = frozenset({E.OPENED, E.CLICKED})


class ActorReason(StrEnum):
    """Why an open or a click has its actor; a provider's own flags stand beside these."""

    CONFIRMED = "confirmed"
    AGENT_MISSING = "agent_missing"
    AGENT_PRIVACY_PROXY = "agent_privacy_proxy"
    AGENT_IMAGE_PROXY = "agent_image_proxy"
    AGENT_SCANNER = "agent_scanner"
    OPENED_AT_ONCE = "opened_within_5s"
    CLICKED_AT_ONCE = "clicked_within_10s"
    EARLY = WITHIN_180_S
    LINK_BURST = "link_burst"
    OPEN_BURST = "open_burst"
    EVERY_LINK = "every_link"
    HONEYPOT = "honeypot"


_PLACE: Final = {reason.value: place for place, reason in enumerate(ActorReason)}
_SAYS: Final = {
    ActorReason.AGENT_PRIVACY_PROXY: Actor.UNKNOWN,
    ActorReason.AGENT_IMAGE_PROXY: Actor.UNKNOWN,
    ActorReason.AGENT_SCANNER: Actor.MACHINE,
    ActorReason.OPENED_AT_ONCE: Actor.MACHINE,
    ActorReason.CLICKED_AT_ONCE: Actor.MACHINE,
    ActorReason.LINK_BURST: Actor.MACHINE,
    ActorReason.OPEN_BURST: Actor.MACHINE,
    ActorReason.EVERY_LINK: Actor.MACHINE,
    ActorReason.HONEYPOT: Actor.MACHINE,
}
_HEIGHT: Final = {Actor.HUMAN: 0, Actor.UNKNOWN: 1, Actor.MACHINE: 2}


class Label(NamedTuple):
    """Who acted and why; reasons that others gave come first, then ours in their order."""

    actor: Actor
    reasons: tuple[str, ...]


class Finding(NamedTuple):
    """A rule that holds for one event, and since when (microseconds) that could be known."""

    event_id: str
    reason: ActorReason
    known_at: int


class Standing(NamedTuple):
    """The label that holds for an event now.

    `previous` is the id of the correction that gave it, or "" for the event's own label;
    `since` is its moment in microseconds; a pinned label is not touched by rules.
    """

    label: Label
    previous: str
    since: int
    is_pinned: bool


def raised(label: Label, reasons: Iterable[ActorReason]) -> Label:
    """A label with more evidence.

    >>> raised(Label(Actor.HUMAN, ("their_flag",)), [ActorReason.HONEYPOT, ActorReason.EARLY])
    Label(actor=<Actor.MACHINE: 'machine'>, reasons=('their_flag', 'within_180s', 'honeypot'))
    """
    found = list(reasons)
    said = [label.actor, *(_SAYS[reason] for reason in found if reason in _SAYS)]
    given = [reason for reason in label.reasons if reason not in _PLACE]
    ours = {reason.value for reason in found} | {r for r in label.reasons if r in _PLACE}
    return Label(
        max(said, key=_HEIGHT.__getitem__), (*given, *sorted(ours, key=_PLACE.__getitem__))
    )


def meaning_of(label: Label) -> tuple[Actor, bool]:
    """What features read of a label: the actor, and whether a human click is doubtful."""
    return label.actor, label.actor is Actor.HUMAN and ActorReason.EARLY in label.reasons


def standing(event: Event, corrections: Sequence[Event]) -> Standing:
    """The label that holds after the corrections of this event: the last one in the log's order.

    The rules add none after a person's, so a person's stays.
    """
    is_pinned = ActorReason.CONFIRMED in event.actor_reasons
    if not corrections:
        label = Label(event.actor, event.actor_reasons)
        return Standing(label, "", event.received_at, is_pinned)
    last = corrections[-1]
    is_pinned = is_pinned or any(is_of_a_person(one) for one in corrections)
    label = Label(last.actor, last.actor_reasons)
    return Standing(label, last.event_id, last.occurred_at, is_pinned)


def is_of_a_person(correction: Event) -> bool:
    """Whether a `relabelled` event was made by anybody else than the rules."""
    return correction.provider != OWN or ActorReason.CONFIRMED in correction.actor_reasons


def corrected(event: Event, now: Standing, found: Sequence[Finding]) -> Event | None:
    """The `relabelled` event that new findings ask for, or None when its meaning stays.

    One more reason for what is known as a machine is not worth an event. The moment is
    when the evidence was complete, never before what it corrects was known.
    """
    if now.is_pinned:
        return None
    label = raised(now.label, (finding.reason for finding in found))
    if meaning_of(label) == meaning_of(now.label):
        return None
    new = [f.known_at for f in found if f.reason.value not in now.label.reasons]
    return relabelled(
        event, label, decided_at=max(*new, now.since, event.received_at), previous=now.previous
    )


def relabelled(event: Event, label: Label, *, decided_at: int, previous: str) -> Event:
    """The event that says what another one really was.

    Its id follows from the label and from the correction before it, so that the same decision
    is stored once while a label may come back after it was changed.
    """
    named = "\x1f".join((event.event_id, previous, label.actor.value, *label.reasons))
    digest = hashlib.blake2b(named.encode(), digest_size=16).hexdigest()
    told = {TARGET: event.event_id} | ({COHORT: event.cohort} if event.cohort else {})
    return Event(
        f"relabel:{digest}",
        E.RELABELLED,
        event.recipient_key,
        occurred_at=decided_at,
        received_at=decided_at,
        content_id=event.content_id,
        actor=label.actor,
        actor_reasons=label.reasons,
        provider=OWN,
        properties=told,
    )
