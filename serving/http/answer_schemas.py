"""What a score is answered with: typed, closed sets, no nulls, every key always there."""

from typing import Literal

from pydantic import Field

from models.specs.churn import Theme
from serving.fallback import FallbackReason
from serving.holding import HoldReason
from serving.http.rule_schemas import Strict
from serving.policy import Band, ReasonCode
from serving.rules import Binding
from serving.zones import ZoneSource


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


class BatchAnswer(Strict):
    """Answers in the order of the requests."""

    results: list[ScoreAnswer | ItemRefused]
