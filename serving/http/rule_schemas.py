"""What a sender allows, as it is asked over HTTP."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from features.events.schema import HOUR_US, SECOND_US
from serving.holding import Values
from serving.rules import FREE, Cap, Rules
from serving.throttle import Throttle

MAX_BLACKOUTS: Final = 50
MAX_SENDS: Final = 200
MAX_FULL_HOURS: Final = 744
Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Strict(BaseModel):
    """Unknown fields are mistakes, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class QuietHoursIn(Strict):
    """No mail from `start` to `end` on the recipient's clock, over midnight where end < start."""

    start: Clock = Field(examples=["21:00"])
    end: Clock = Field(examples=["08:00"])


class SpanIn(Strict):
    """A time without mail, its end not included: a holiday, an incident."""

    start: datetime
    end: datetime

    @model_validator(mode="after")
    def _ordered(self) -> "SpanIn":
        if micros(self.end) < micros(self.start):
            raise ValueError("end lies before start")
        return self


class CapIn(Strict):
    """So many mails at most in any stretch of so many days."""

    most: int = Field(ge=1, le=1_000)
    days: float = Field(gt=0, le=90)
    sent_at: list[datetime] | None = Field(
        None,
        max_length=MAX_SENDS,
        description="Mails sent or planned. [default: the newest delivery among the events, "
        "which is enough for one mail in a stretch]",
    )


class RulesIn(Strict):
    """Hours that are forbidden, and how much mail."""

    quiet_hours: QuietHoursIn | None = None
    blackouts: list[SpanIn] = Field(default_factory=list, max_length=MAX_BLACKOUTS)
    expires_at: datetime | None = Field(None, description="The mail is of no use from then on.")
    cap: CapIn | None = None
    full_hours: list[datetime] = Field(
        default_factory=list,
        max_length=MAX_FULL_HOURS,
        description="Hours that have taken all the mails they may (throttling).",
    )

    @field_validator("expires_at")
    @classmethod
    def _in_range(cls, value: datetime | None) -> datetime | None:
        if value is not None and not 2000 <= value.year <= 2099:
            raise ValueError("send a time between the years 2000 and 2099")
        return value


class ThrottleIn(Strict):
    """So many mails an hour at most, over all recipients of the call."""

    per_hour: int = Field(ge=1, le=100_000_000)
    planned: dict[str, int] = Field(
        default_factory=dict,
        max_length=MAX_FULL_HOURS,
        description="Mails that earlier calls have put into an hour, by its seconds since 1970.",
        examples=[{"1774767600": 480}],
    )

    @field_validator("planned")
    @classmethod
    def _are_hours(cls, value: dict[str, int]) -> dict[str, int]:
        if not all(name.isascii() and name.isdigit() and len(name) <= 10 for name in value):
            raise ValueError("name each hour by its seconds since 1970, as in best_at_epoch")
        for name, mails in value.items():
            if mails < 0:
                raise ValueError(f"{name} has {mails} mails; give zero or more")
        return value


class ValuesIn(Strict):
    """In any one unit; without them nothing is held back for not being worth it."""

    engagement: float = Field(1.0, ge=0, le=1e9, description="Of an engagement.")
    unsubscribe: float = Field(0.0, ge=0, le=1e9, description="Lost with who unsubscribes.")
    complaint: float = Field(0.0, ge=0, le=1e9, description="Lost with who complains.")


def rules_of(body: RulesIn) -> Rules:
    """The same as the solver takes it; an hour that was sent is rounded down."""
    if not body.model_fields_set:
        return FREE
    quiet, cap = body.quiet_hours, body.cap
    return Rules(
        quiet=None if quiet is None else (_minutes(quiet.start), _minutes(quiet.end)),
        blackouts=tuple((micros(span.start), micros(span.end)) for span in body.blackouts),
        expires_at=micros(body.expires_at),
        cap=None
        if cap is None
        else Cap(
            cap.most,
            cap.days,
            None if cap.sent_at is None else tuple(micros(at) for at in cap.sent_at),
        ),
        full=frozenset(micros(at) // HOUR_US * HOUR_US for at in body.full_hours),
    )


def throttle_of(body: ThrottleIn) -> Throttle:
    """The same as the solver takes it; moments within an hour count for the hour."""
    planned: dict[int, int] = {}
    for name, mails in body.planned.items():
        hour = int(name) * SECOND_US // HOUR_US * HOUR_US
        planned[hour] = planned.get(hour, 0) + mails
    return Throttle(body.per_hour, planned)


def values_of(body: ValuesIn) -> Values:
    """The same as it is weighed."""
    return Values(body.engagement, body.unsubscribe, body.complaint)


def micros(moment: datetime | None) -> int:
    """Microseconds since 1970; zero for none, a naive time is UTC."""
    if moment is None:
        return 0
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(aware.timestamp() * SECOND_US)


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
