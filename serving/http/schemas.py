"""What is asked and answered over HTTP: typed, closed sets, no nulls, every key always there."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator
from pydantic import model_validator as model_check

from features.events.schema import (
    MAX_KEY_CHARS,
    MAX_TEXT_CHARS,
    MAX_TOPICS,
    zone_of,
)
from models.specs.churn import Theme
from serving.fallback import FallbackReason
from serving.holding import HoldReason
from serving.http.rule_schemas import RulesIn, Strict, ThrottleIn, ValuesIn, micros
from serving.policy import Band, ReasonCode
from serving.rules import Binding
from serving.zones import ZoneSource

MAX_CANDIDATES: Final = 200
MAX_BATCH: Final = 1_000
MAX_EVENTS: Final = 5_000
MAX_WINDOW_DAYS: Final = 31

Key = Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY_CHARS)]
Text = Annotated[str, StringConstraints(max_length=MAX_KEY_CHARS)]


class CandidateIn(Strict):
    """One thing that could be shown."""

    content_id: Key = Field(description="The item, as in events.", examples=["item-001"])
    topics: list[Text] = Field(
        default_factory=list, max_length=MAX_TOPICS, description="What it is about."
    )
    text: str = Field(
        "",
        max_length=MAX_TEXT_CHARS,
        description="Its name or subject line: gives the topics where there are none.",
    )


class ScoreRequest(Strict):
    """One recipient of one send."""

    recipient_key: Key = Field(
        description="The opaque key of the recipient; never an address.", examples=["r_9f2"]
    )
    send_id: Text = Field("", description="The mailing; part of the decision's identity.")
    slot: Text = Field("", description="The place in the mail, where one mail asks for several.")
    timezone: Text = Field(
        "", description="IANA zone of the recipient, if the sender knows better than the events."
    )
    window_from: datetime | None = Field(
        None, description="The mail may not go out before. [default: now]"
    )
    window_to: datetime | None = Field(
        None, description="The mail may not go out after. [default: 24 hours later]"
    )
    default_at: datetime | None = Field(
        None, description="When the sender would send without us. [default: the best common hour]"
    )
    previous_band: Band | None = Field(
        None, description="The churn band you know of this recipient: it is kept near an edge."
    )
    explain: bool = Field(default=False, description="Tell what moves p_churn.")
    candidates: list[CandidateIn] = Field(
        default_factory=list, max_length=MAX_CANDIDATES, description="Items to rank."
    )
    explore: bool = Field(
        default=True,
        description="False for a dry run: the first item is the best one and never drawn.",
    )
    test: bool = Field(
        default=False,
        description="True for a test recipient: never held out, marked in the log of decisions.",
    )
    rules: RulesIn = Field(
        default_factory=RulesIn, description="Hours that are forbidden, and how much mail."
    )
    values: ValuesIn = Field(
        default_factory=ValuesIn, description="What holding back is judged by."
    )

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value and zone_of(value) is None:
            raise ValueError("unknown time zone; send an IANA name such as Europe/Berlin")
        return value

    @field_validator("window_from", "window_to", "default_at")
    @classmethod
    def _in_range(cls, value: datetime | None) -> datetime | None:
        if value is not None and not 2000 <= value.year <= 2099:
            raise ValueError("send a time between the years 2000 and 2099")
        return value

    @model_check(mode="after")
    def _ordered(self) -> "ScoreRequest":
        start, end = micros(self.window_from), micros(self.window_to)
        if start and end and end < start:
            raise ValueError("window_to lies before window_from")
        return self


class SlotOut(Strict):
    """One hour a mail could go out."""

    at: str
    at_epoch: int
    p: float


class SendTimeOut(Strict):
    """When to send."""

    best_at: str = Field(description="ISO 8601 on the recipient's clock.")
    best_at_epoch: int = Field(description="Seconds since 1970 in UTC.")
    p_engage: float = Field(description="P(human engagement within 24 h) when sent then.")
    p_low: float = Field(description="90 % interval on the person's own chance: low end.")
    p_high: float = Field(description="90 % interval on the person's own chance: high end.")
    p_engage_default: float = Field(description="P(engagement) at the sender's own hour.")
    p_low_default: float
    p_high_default: float
    default_at: str
    default_at_epoch: int
    basis: Literal["engagement", "activity", "prior"] = Field(
        description="Whether p_engage was learnt from mails, only from activity, or not at all."
    )
    tz: str
    tz_source: ZoneSource
    binding_constraint: Binding
    explanation: str = Field(
        description="When the person is active, in a few words of English, and how much says so."
    )
    explored: bool = Field(description="Whether the hour was drawn rather than the best.")
    propensity: float = Field(description="The chance, exactly, that this hour was chosen.")
    slots: list[SlotOut] = Field(
        description="The allowed hours of the window; all of them where none is allowed."
    )


class HoldOut(Strict):
    """Whether the mail had better not go out as asked."""

    hold_back: bool = Field(description="True: do not send it now, see `reason`.")
    reason: HoldReason
    until: str = Field(description="When it may go out; empty where that is not the question.")
    until_epoch: int = Field(description="The same in seconds since 1970; 0 for none.")
    value: float = Field(description="Of sending at the best hour, in the unit of `values`.")
    propensity: float = Field(description="The chance, exactly, of just this answer.")
    explored: bool = Field(description="It goes out to find out, although it seems not worth it.")


class RisksOut(Strict):
    """How the next mail may end it; one excludes the other."""

    unsubscribe: float = Field(description="P(unsubscribes upon the next mail).")
    complaint: float = Field(description="P(complains about the next mail).")


class EffectOut(Strict):
    """What a theme adds to p_churn, or takes from it, beside its usual values."""

    theme: Theme
    effect: float


class ChurnOut(Strict):
    """Whether to hold back."""

    p_churn: float = Field(description="P(no human engagement within the horizon).")
    band: Band = Field(
        description="Risk in words; beside `previous_band` it only moves when p_churn is clearly "
        "past the edge."
    )
    horizon_days: float
    risks: RisksOut
    effects: list[EffectOut] = Field(
        description="With `explain`: what moves p_churn, strongest first."
    )


class RankedOut(Strict):
    """A candidate with its chance."""

    content_id: str
    p_click: float


class ContentOut(Strict):
    """What to put in; `variant` is empty when no candidates were sent."""

    variant: str = Field(description="The item for the first place: the first of the ranking.")
    ranking: list[RankedOut] = Field(description="In the order to show.")
    propensity: float = Field(
        description="The chance, exactly, that this variant got the first place; log it."
    )
    explored: bool = Field(description="Whether the variant was drawn rather than the best.")


class PartsOut(Strict):
    """The reason for each part of the answer."""

    send_time: FallbackReason
    churn: FallbackReason
    content_preference: FallbackReason


class FallbackOut(Strict):
    """Whether and why the answer is not the models' own word on this recipient."""

    used: bool
    reason: FallbackReason
    parts: PartsOut


class ModelsOut(Strict):
    """The version behind each part; `none` without a champion."""

    send_time: str
    churn: str
    content_preference: str


class ScoreAnswer(Strict):
    """The answer for one recipient: every key always there, no nulls."""

    status: Literal["ok"] = "ok"
    decision_id: str
    recipient_key: str
    send_id: str
    as_of: str
    arm: Literal["personal", "holdout"] = Field(
        description="`holdout`: the sender's own hour and order, to compare with."
    )
    send_time: SendTimeOut
    hold: HoldOut
    churn: ChurnOut
    content: ContentOut
    reason_codes: list[ReasonCode]
    evidence_n: int = Field(description="Active hours behind the answer.")
    feature_age_s: int = Field(description="Seconds since the newest event; -1 without events.")
    fallback: FallbackOut
    models: ModelsOut
    policy: str


class ItemRefused(Strict):
    """A request of a batch that could not be read; its neighbours are served."""

    status: Literal["invalid"] = "invalid"
    index: int
    errors: list[str]


class BatchRequest(Strict):
    """Up to a thousand recipients; each is judged by itself."""

    requests: list[Any] = Field(
        max_length=MAX_BATCH,
        description="Bodies of /v1/score.",
        examples=[[{"recipient_key": "r"}]],
    )
    throttle: ThrottleIn | None = None


class BatchAnswer(Strict):
    """Answers in the order of the requests."""

    results: list[ScoreAnswer | ItemRefused]


class EventsRequest(Strict):
    """Events as the schema has them; see the documentation of events."""

    events: list[Any] = Field(
        max_length=MAX_EVENTS,
        examples=[
            [
                {
                    "event_id": "e1",
                    "type": "clicked",
                    "recipient_key": "r_9f2",
                    "occurred_at": "2026-03-28T18:00:00Z",
                }
            ]
        ],
    )


class EventRefused(Strict):
    """An event that was not accepted, and what to do about it."""

    index: int
    event_id: str
    reason: str
    field: str
    message: str


class EventsAnswer(Strict):
    """What became of each event; accepted ones are durable and in the next score."""

    accepted: int
    duplicate: int
    rejected: list[EventRefused]


class WebhookAnswer(Strict):
    """What became of a provider's events; quarantined ones are kept with their reason."""

    accepted: int
    duplicate: int
    quarantined: int


class StoreOut(StrEnum):
    """Whether the online store is asked: `unavailable` while it fails."""

    OK = "ok"
    UNAVAILABLE = "unavailable"


class ReadyAnswer(Strict):
    """Whether the service can answer, if only by fallback, and with what."""

    ready: bool
    models: ModelsOut
    online_store: StoreOut


class Problem(BaseModel):
    """RFC 9457: what was wrong with the request; never an echo of it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[str] = []
    request_id: str = Field(description="Also in the header X-Request-Id and in the log.")
