"""Profile: what is known about a person in words; the newest word counts.

Any event may carry them as properties; `profile_updated` carries nothing else. They are for
slices, cohorts and rules; what they say of engagement is in the counters.
"""

from typing import Final

MAILBOX: Final = "mailbox"
# It is the class of the mailbox provider (gmail, microsoft, ...), never an address.
ATTRIBUTES: Final = ("country", "locale", MAILBOX)
MAX_ATTRIBUTE_CHARS: Final = 32
