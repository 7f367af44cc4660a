"""What is told of one recipient and of the models: for people and their tools, never for a mail."""

from pydantic import Field

from features.events.schema import Actor, EventType
from serving.http.answer_schemas import EffectOut, FallbackOut, ModelsOut
from serving.http.rule_schemas import Strict
from serving.zones import ZoneSource


class FeatureOut(Strict):
    """A feature as the models read it at `as_of`."""

    name: str
    value: float
    unit: str


class EventOut(Strict):
    """An event as it is known now, corrections included; nothing of what was looked at."""

    type: EventType
    occurred_at: str
    actor: Actor
    actor_reasons: list[str]
    content_id: str
    send_id: str


class ChurnWhy(Strict):
    """The risk, and what moves it."""

    p_churn: float
    effects: list[EffectOut]


class RecipientAnswer(Strict):
    """What is known of one recipient, and what the models make of it."""

    recipient_key: str
    as_of: str
    newest_age_s: int = Field(description="Seconds since the newest event; -1 without events.")
    tz: str
    tz_source: ZoneSource
    features: list[FeatureOut]
    missing: list[str] = Field(description="Features without a value, such as a gap of one event.")
    churn: ChurnWhy
    events: list[EventOut] = Field(description="The last 50, newest first.")
    fallback: FallbackOut = Field(description="As a score would say it.")
    models: ModelsOut


class ShadowOut(Strict):
    """A challenger beside the champion, as the process that answers has it; zeros before rows."""

    version: str = Field(description="The challenger's; `none` without one.")
    n: int = Field(description="Recipients compared.")
    mean: float = Field(description="Of the absolute difference of p_churn, or the best p.")
    most: float = Field(description="The largest absolute difference.")
    low: float = Field(description="5th percentile of challenger less champion.")
    middle: float = Field(description="Its median.")
    high: float = Field(description="Its 95th percentile.")
    rank_correlation: float = Field(description="Spearman's, over the newest 2,000.")
    otherwise: float = Field(
        description="Share whose best hour, churn band or first item would differ."
    )
    latency_ratio: float = Field(description="Time of scoring, challenger to champion.")


class ModelOut(Strict):
    """A model and the version of it that serves; `none` and empty texts without one."""

    name: str
    version: str
    previous: str = Field(description="The version to which `opportune rollback` goes back.")
    spec_digest: str
    as_of: str = Field(description="Up to when its training knew the world.")
    label: str
    fingerprint: str = Field(description="Of the rows it was trained on.")
    basis: str = Field(description="What its numbers were learnt from.")
    n_erased: int = Field(description="Recipients it was trained on who were erased since.")
    retrain_by: str = Field(description="The day by which it is to be trained anew; empty: none.")
    shadow: ShadowOut


class ErasureAnswer(Strict):
    """What was removed, and the id of the proof in `erasures/`."""

    id: str
    erased_at: int = Field(description="Microseconds since 1970; what happened before stays out.")
    n_recipients: int
    stores: dict[str, int] = Field(description="How much was removed from each.")
    is_verified: bool = Field(description="Every store was looked at again: nothing was found.")
    n_unknown: int = Field(description="Of whom there was neither an event nor a state.")


class ModelsAnswer(Strict):
    """Every model there is."""

    models: list[ModelOut]
