"""Whether to hold a mail back: what it is worth against what it risks. Pure.

    value = engagement * P(engage) - unsubscribe * P(unsubscribe) - complaint * P(complain)

Only the sender knows what a subscriber lost costs. Without their numbers a mail is worth what it
is engaged with, and nothing is held back. Nothing is held back either on chances that are not the
models' own word on this recipient.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class HoldReason(StrEnum):
    """Why a mail had better not go out as asked."""

    NONE = "none"
    NO_ALLOWED_HOUR = "no_allowed_hour"  # send it at `until`
    NEVER_ALLOWED = "never_allowed"  # expired, or forbidden for a month
    NOT_WORTH_IT = "not_worth_it"


class Risks(NamedTuple):
    """Chances that the next mail makes the recipient leave."""

    unsubscribe: float
    complaint: float


@dataclass(frozen=True, slots=True)
class Values:
    """In any one unit: of an engagement, and lost with who unsubscribes or complains."""

    engagement: float = 1.0
    unsubscribe: float = 0.0
    complaint: float = 0.0

    def of(self, p_engage: float, risks: Risks) -> float:
        """What sending is worth, not sending being worth nothing."""
        lost = self.unsubscribe * risks.unsubscribe
        return self.engagement * p_engage - lost - self.complaint * risks.complaint


AS_USUAL: Final = Values()
