"""Profile: what is known about a person in words; the newest word counts.

Any event may carry them as properties; `profile_updated` carries nothing else. They are for
slices, cohorts and rules; what they say of engagement is in the counters.
"""

from typing import Final

from features.events.schema import COUNTRY, MAX_WORD_CHARS

MAILBOX: Final = "mailbox"
# It is the class of the mailbox provider (gmail, microsoft, ...), never an address.
ATTRIBUTES: Final = (COUNTRY, "locale", MAILBOX)
MAX_ATTRIBUTE_CHARS: Final = MAX_WORD_CHARS
