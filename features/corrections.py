"""What changes the past: an event's true actor found out later, a person erased.

The log is never rewritten. A `relabelled` event says who really did an earlier event of the
same recipient; an `erased` one, that nothing up to it may be remembered. Neither fits into a
sum, so a recipient who gets one is folded again from the log, which takes a millisecond.
"""

from collections.abc import Iterable
from typing import Final

from features.decay import NEVER_AT
from features.definitions.affinity import Affinity
from features.events.schema import TARGET, Event, EventType
from features.layout import Layout
from features.state import State

CORRECTING: Final = frozenset({EventType.RELABELLED, EventType.ERASED})
Entry = tuple[int, Event]  # log offset, event


def corrected(history: Iterable[Entry]) -> list[Entry]:
    """A recipient's events as they are known now: labels put right, what is erased left out.

    Args:
        history: In order of offset; the newest label of an event holds.
    """
    entries = list(history)
    labels = {
        event.properties.get(TARGET): event
        for _, event in entries
        if event.type is EventType.RELABELLED
    }
    erased_at = erased_by(entries)
    kept = []
    for offset, event in entries:
        if event.occurred_at <= erased_at or event.type is EventType.ERASED:
            continue
        label = labels.get(event.event_id)
        if label is not None and event.type is not EventType.RELABELLED:
            event = relabelled(event, label)  # noqa: PLW2901
        kept.append((offset, event))
    return kept


def relabelled(event: Event, label: Event) -> Event:
    """An event under the actor and the reasons that a `relabelled` one tells."""
    return event._replace(actor=label.actor, actor_reasons=label.actor_reasons)


def erased_by(entries: Iterable[Entry]) -> int:
    """Up to which moment everything is to be forgotten (microseconds)."""
    moments = [event.occurred_at for _, event in entries if event.type is EventType.ERASED]
    return max(moments, default=NEVER_AT)


def refolded(history: Iterable[Entry], *, layout: Layout, affinity: Affinity) -> State:
    """The state that a history makes, corrections included."""
    entries = list(history)
    state = State()
    for _, event in corrected(entries):
        state.apply(event, layout=layout, affinity=affinity)
    state.seen = max((offset for offset, _ in entries), default=0)
    state.erased_at = erased_by(entries)
    return state
