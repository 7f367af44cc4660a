"""What a score says, as a caller holds it: typed and frozen, without the service's own parts.

Words are plain strings and unknown fields are kept: a newer service may know more of both than
the client that asks it. A missing field, a null or a number that is none is no answer.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class Slot(_Part):
    """One hour a mail could go out."""

    at: str
    at_epoch: int
    p: float


class SendTime(_Part):
    """When to send; moments as ISO 8601 and in seconds since 1970."""

    best_at: str
    best_at_epoch: int
    p_engage: float
    p_low: float
    p_high: float
    p_engage_default: float
    p_low_default: float
    p_high_default: float
    default_at: str
    default_at_epoch: int
    basis: str
    tz: str
    tz_source: str
    binding_constraint: str
    explanation: str
    explored: bool
    propensity: float
    slots: tuple[Slot, ...]


class Hold(_Part):
    """Whether the mail had better not go out as asked."""

    hold_back: bool
    reason: str
    until: str
    until_epoch: int
    value: float
    propensity: float
    explored: bool


class Risks(_Part):
    """How the next mail may end it."""

    unsubscribe: float
    complaint: float


class Effect(_Part):
    """What a theme adds to p_churn."""

    theme: str
    effect: float


class Churn(_Part):
    """Whether to mail less."""

    p_churn: float
    band: str
    horizon_days: float
    risks: Risks
    effects: tuple[Effect, ...]


class Ranked(_Part):
    """A candidate with its chance."""

    content_id: str
    p_click: float


class Content(_Part):
    """What to put in, best first."""

    variant: str
    ranking: tuple[Ranked, ...]
    propensity: float
    explored: bool


class Parts(_Part):
    """The reason for each part of the answer."""

    send_time: str
    churn: str
    content_preference: str


class Fallback(_Part):
    """Whether and why the answer is not the models' own word."""

    used: bool
    reason: str
    parts: Parts


class Models(_Part):
    """The version behind each part."""

    send_time: str
    churn: str
    content_preference: str


class Answer(_Part):
    """The answer for one recipient: every field always there, no nulls."""

    status: str
    decision_id: str
    recipient_key: str
    send_id: str
    as_of: str
    arm: str
    send_time: SendTime
    hold: Hold
    churn: Churn
    content: Content
    reason_codes: tuple[str, ...]
    evidence_n: int
    feature_age_s: int
    fallback: Fallback
    models: Models
    policy: str

    def as_dict(self) -> dict[str, Any]:
        """As the service writes it, fields included that this client does not know."""
        return self.model_dump(mode="json")


class EventRefused(_Part):
    """An event that was not accepted, and what to do about it."""

    index: int
    event_id: str
    reason: str
    field: str
    message: str


class EventsStored(_Part):
    """What became of the events of a call: accepted ones are durable and in the next score."""

    accepted: int
    duplicate: int
    rejected: tuple[EventRefused, ...]
