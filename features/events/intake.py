"""The one door through which events enter the log: labelled by what the log knows by then.

An event that shows a stored label to be wrong brings the correction with it, in the same
transaction. So the labels end the same in whatever order, batches and number of times events
arrive, also when several processes take them at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from features.events.actor_rules import (
    AHEAD_US,
    ALL_LINKS_US,
    AT_ONCE_US,
    EARLY_US,
    FAR_US,
    FEWEST_LINKS,
    by_recipient,
    findings,
    links_of,
)
from features.events.actors import (
    LABELLED,
    Finding,
    Label,
    Standing,
    corrected,
    raised,
    standing,
)
from features.events.database import Window
from features.events.log import EventLog
from features.events.schema import TARGET, Event
from features.events.schema import EventType as E

MAIL: Final = frozenset({E.SENT, E.DELIVERED, E.OPENED, E.CLICKED})
_NEAR: Final = (E.DELIVERED, E.OPENED, E.CLICKED)
_DECLARING: Final = (E.SENT, E.DELIVERED)


class Revision(NamedTuple):
    """A label that changes: the event concerned, the label before, what is said about it."""

    event: Event
    before: Label
    correction: Event


Decide = Callable[[Event, Standing], Event | None]


class Intake:
    """Takes events into one log.

    Args:
        witness: Told of the new events of each batch, in the transaction that stores them.
    """

    def __init__(
        self, log: EventLog, *, witness: Callable[[Sequence[Event]], None] = lambda _: None
    ) -> None:
        self._log = log
        self._witness = witness

    def take(self, events: Sequence[Event]) -> list[int | None]:
        """Label a batch and store it with the corrections it causes; durable on return.

        Returns:
            Per event of the batch its offset, None for a duplicate, `KEPT_OUT` for one of an
            erased recipient.

        Raises:
            StoreUnavailableError: Nothing of the batch is stored.
        """
        windows = [window for event in events for window in _windows(event)]

        def decided(fresh: Sequence[Event], known: Sequence[Event]) -> list[Event]:
            self._witness(fresh)
            return labelled(fresh, known) if windows else list(fresh)

        return self._log.append_knowing(events, windows, decided)

    def revise(self, targets: Sequence[Event], decide: Decide) -> list[Revision]:
        """Correct labels of stored opens and clicks; `decide` sees the label that holds by now.

        Args:
            decide: Gives the correction of an event whose label this is, or None.

        Raises:
            StoreUnavailableError: Nothing is stored.
        """
        made: list[Revision] = []

        def told(_: Sequence[Event], known: Sequence[Event]) -> list[Event]:
            made.extend(_revisions(known, targets, decide))
            return [one.correction for one in made]

        self._log.append_knowing((), _at(targets), told)
        return made

    def would_revise(self, targets: Sequence[Event], decide: Decide) -> list[Revision]:
        """What `revise` would do now; stores nothing."""
        return list(_revisions(self._log.around(_at(targets)), targets, decide))


def labelled(fresh: Sequence[Event], known: Sequence[Event]) -> list[Event]:
    """New events with their labels, in order, and then the corrections of known ones.

    Args:
        fresh: Events that are not in the log yet.
        known: Mail events near them, and the corrections of their recipients by offset.
    """
    corrections = _by_target((*known, *fresh))
    found: dict[str, list[Finding]] = defaultdict(list)
    for events in by_recipient(e for e in (*known, *fresh) if e.type in MAIL).values():
        for finding in findings(events):
            found[finding.event_id].append(finding)
    stored = [_stamped(event, found[event.event_id]) if found else event for event in fresh]
    return [*stored, *_corrections(known, stored, found, corrections)]


def _by_target(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The corrections among events by the id of what they correct."""
    corrections: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.type is E.RELABELLED:
            corrections[str(event.properties.get(TARGET, ""))].append(event)
    return corrections


def _at(targets: Iterable[Event]) -> list[Window]:
    """Windows with just these events in them, as far as one can tell by time."""
    return [
        Window(event.recipient_key, event.occurred_at, event.occurred_at, (event.type,))
        for event in targets
    ]


def _revisions(
    known: Sequence[Event], targets: Sequence[Event], decide: Decide
) -> Iterator[Revision]:
    corrections = _by_target(known)
    there = {event.event_id: event for event in known}
    for target in targets:
        event = there.get(target.event_id)
        if event is not None:
            now = standing(event, corrections.get(event.event_id, ()))
            correction = decide(event, now)
            if correction is not None:
                yield Revision(event, now.label, correction)


def _stamped(event: Event, found: Sequence[Finding]) -> Event:
    if not found or standing(event, ()).is_pinned:
        return event
    label = raised(Label(event.actor, event.actor_reasons), (f.reason for f in found))
    return event._replace(actor=label.actor, actor_reasons=label.reasons)


def _corrections(
    known: Iterable[Event],
    stored: Iterable[Event],
    found: dict[str, list[Finding]],
    corrections: dict[str, list[Event]],
) -> Iterator[Event]:
    """What has to be said about events that are stored, or corrected before they came."""
    concerned = [e for e in known if e.type in LABELLED]
    concerned += [e for e in stored if e.type in LABELLED and e.event_id in corrections]
    for event in concerned:
        if found.get(event.event_id):
            now = standing(event, corrections.get(event.event_id, ()))
            correction = corrected(event, now, found[event.event_id])
            if correction is not None:
                yield correction


def _windows(event: Event) -> Iterator[Window]:
    """Where events lie that make a rule hold together with this one."""
    key, at = event.recipient_key, event.occurred_at
    if event.type is E.OPENED:
        yield Window(key, at - AT_ONCE_US[E.OPENED], at + AHEAD_US, _NEAR)
    elif event.type is E.CLICKED:
        yield Window(key, at - EARLY_US, at + ALL_LINKS_US, _NEAR)
        yield Window(key, at - FAR_US, at + AHEAD_US, _DECLARING)
    elif event.type is E.DELIVERED:
        yield Window(key, at - AHEAD_US, at + EARLY_US, _NEAR)
    if links_of(event) >= FEWEST_LINKS:
        yield Window(key, at - AHEAD_US, at + FAR_US, (E.CLICKED,))
