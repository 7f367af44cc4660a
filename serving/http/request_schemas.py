"""What is asked of a score: one recipient of one send, or many at once."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, field_validator
from pydantic import model_validator as model_check

from features.events.schema import MAX_KEY_CHARS, MAX_TEXT_CHARS, MAX_TOPICS, zone_of
from serving.http.rule_schemas import RulesIn, Strict, ThrottleIn, ValuesIn, micros
from serving.policy import Band

MAX_CANDIDATES: Final = 200
MAX_BATCH: Final = 1_000

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


class BatchRequest(Strict):
    """Up to a thousand recipients; each is judged by itself."""

    requests: list[Any] = Field(
        max_length=MAX_BATCH,
        description="Bodies of /v1/score.",
        examples=[[{"recipient_key": "r"}]],
    )
    throttle: ThrottleIn | None = None
