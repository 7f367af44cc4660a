"""Profile: what is known about a person in words; the newest word counts.

Any event may carry them as properties; `profile_updated` carries nothing else. They are for
slices, cohorts and rules; what they say of engagement is in the counters.

One word more is told by events of consent alone: whether the person may be profiled. `purpose`
says what an event is about. A withdrawal without a purpose is one from profiling too; a consent
counts only when it names profiling. Nothing said is no withdrawal.
"""

from collections.abc import Mapping
from typing import Any, Final

from features.events.schema import COUNTRY, MAX_WORD_CHARS, EventType

MAILBOX: Final = "mailbox"
# It is the class of the mailbox provider (gmail, microsoft, ...), never an address.
ATTRIBUTES: Final = (COUNTRY, "locale", MAILBOX)
MAX_ATTRIBUTE_CHARS: Final = MAX_WORD_CHARS

CONSENT: Final = len(ATTRIBUTES)  # its number, behind those of the attributes
N_WORDS: Final = CONSENT + 1
CONSENTS: Final = frozenset({EventType.CONSENT_GRANTED, EventType.CONSENT_WITHDRAWN})
PURPOSE: Final = "purpose"
PROFILING: Final = "profiling"
# Of two events at one moment the greater word counts: the withdrawal.
GRANTED, WITHDRAWN = "granted", "withdrawn"


def consent_word(kind: EventType, properties: Mapping[str, Any]) -> str:
    """What an event says about being profiled; empty where it says nothing.

    >>> consent_word(EventType.CONSENT_WITHDRAWN, {})
    'withdrawn'
    >>> consent_word(EventType.CONSENT_GRANTED, {"purpose": "newsletter"})
    ''
    """
    purpose = properties.get(PURPOSE)
    if kind is EventType.CONSENT_WITHDRAWN and purpose in (None, "", PROFILING):
        return WITHDRAWN
    return GRANTED if kind is EventType.CONSENT_GRANTED and purpose == PROFILING else ""


def is_withdrawn(profile: Mapping[int, tuple[int, str]]) -> bool:
    """Whether the newest word of a profile (time and text by number) is a withdrawal."""
    return profile.get(CONSENT, (0, ""))[1] == WITHDRAWN
