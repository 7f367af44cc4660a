"""What people say about consent, written into the audit log as it is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from features.audit import Action, AuditLog, Entry
from features.definitions.profile import PROFILING, PURPOSE
from features.events.digests import AUDIT, Digests
from features.events.schema import Event, EventType

_ACTIONS: Final = {
    EventType.CONSENT_GRANTED: Action.CONSENT_GRANTED,
    EventType.CONSENT_WITHDRAWN: Action.CONSENT_WITHDRAWN,
}


@dataclass(frozen=True, slots=True)
class Witness:
    """Called inside the transaction that stores events: a consent is never missed in the log.

    Failure mode: one whose transaction fails after that stands in it twice when it is sent again.

    Args:
        actor: Who brings the events.
    """

    audit: AuditLog
    digests: Digests
    actor: str

    def __call__(self, events: Sequence[Event]) -> None:
        """Write down those of the events that are about consent.

        Raises:
            StoreUnavailableError: It cannot be written; the events must not be stored either.
        """
        told = [event for event in events if event.type in _ACTIONS]
        if told:
            entries = [Entry(_ACTIONS[event.type], self._object(event)) for event in told]
            self.audit.add(entries, actor=self.actor, at=max(e.received_at for e in told))

    def _object(self, event: Event) -> str:
        # A purpose of the sender's own words may say anything, so it is not repeated.
        purpose = event.properties.get(PURPOSE) or "none"
        shown = purpose if purpose in {"none", PROFILING} else "another"
        return f"{recipient(self.digests, event.recipient_key)} purpose {shown}"


def witness(audit_dir: Path, events_dir: Path, *, actor: str) -> Witness:
    """The witness of one data directory."""
    return Witness(AuditLog(audit_dir), Digests(events_dir), actor)


def recipient(digests: Digests, recipient_key: str) -> str:
    """A recipient as the audit log names them."""
    return f"recipient {digests.of(AUDIT, recipient_key)}"
