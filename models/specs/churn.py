"""Churn: the chance that a recipient shows no sign of life within the horizon.

Beside it the chances that the next mail is answered by an opt-out.
"""

from enum import StrEnum
from typing import Final

from features.definitions.recipient import VIEW
from features.kinds import FOREVER, Decayed, Feature, Rate, Tenure
from models.spec import ModelSpec, Output


def _ages_well(feature: Feature) -> bool:
    """Totals and tenures grow with the calendar: next month's lie outside the training range."""
    match feature:
        case Tenure():
            return False
        case Decayed(half_life=half_life) | Rate(top=Decayed(half_life=half_life)):
            return half_life != FOREVER
        case _:
            return True


# For the fallback of short logs alone: BG/NBD and logistic RFM go by the whole past.
HISTORY: Final = ("active_total", "days_since_first_active", "spent_total")

EDGES: Final = (0.35, 0.65)  # between a low, a medium and a high risk

UNSUBSCRIBE, COMPLAINT = "p_unsubscribe", "p_complaint"
# Without a model: what mails get on average (Mailchimp 2019, Omeda 2023).
RISKS = {UNSUBSCRIBE: 0.002, COMPLAINT: 0.0002}

SPEC = ModelSpec(
    name="churn",
    entity="recipient",
    inputs=(*(feature.name for feature in VIEW.features if _ages_well(feature)), *HISTORY),
    outputs=(
        Output("p_churn", unit="probability"),
        Output(UNSUBSCRIBE, unit="probability per mail"),
        Output(COMPLAINT, unit="probability per mail"),
    ),
    horizon_days=90.0,
    prior=0.5,
    meaning="P(no human engagement or purchase within the horizon), mailing as usual",
)


class Theme(StrEnum):
    """What a group of inputs tells about: reasons of a risk are given by these."""

    ENGAGEMENT = "engagement"  # how much and how regularly
    RECENCY = "recency"  # how long ago the last sign of life was
    INTENT = "intent"  # views, carts and purchases
    MAIL_PRESSURE = "mail_pressure"  # how much mail went out
    READING = "reading"  # on what, and whether machines open or scan


_PREFIXES = {
    Theme.RECENCY: (
        "active_overdue",
        *(f"days_since_{w}" for w in ("active", "session", "opened", "clicked")),
    ),
    Theme.ENGAGEMENT: (
        *("opened_", "clicked_", "active_", "session_", "mean_days_between_active"),
        "days_since_first_active",
    ),
    Theme.MAIL_PRESSURE: ("sent_", "delivered_", "bounced_", "days_since_delivered"),
    Theme.READING: (
        "mobile_",
        "desktop_",
        "days_since_opted_out",
        "days_since_prefetched",
        "days_since_scanned",
    ),
}


def theme_of(name: str) -> Theme:
    """The theme of an input; what no other theme claims is intent."""
    return next((t for t, starts in _PREFIXES.items() if name.startswith(starts)), Theme.INTENT)
