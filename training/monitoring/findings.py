"""What a signal says of one window, and how error is spread over all that are asked.

A monitor that cries wolf is switched off. Each family of signals (one statistic over all its
inputs, models or shares) errs in at most `ALPHA` of quiet windows: Bonferroni within the family.
With some ten families, twelve quiet windows raise an alarm in fewer than one of twenty cases.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final

ALPHA: Final = 0.0004  # of a family in one window; ten families, twelve windows: 5 %

NO_DECISION: Final = "no decision in these windows under the policy that the settings give"


class Judgement(StrEnum):
    """What a signal says."""

    FINE = "fine"
    NOTICE = "notice"
    ALARM = "alarm"
    UNJUDGED = "not judged"


class Trigger(StrEnum):
    """Why a model should be trained again."""

    TIME = "time"
    VOLUME = "volume"
    DRIFT = "drift"
    QUALITY = "quality"
    ERASURE = "erasure"


@dataclass(frozen=True, slots=True)
class Signal:
    """One statistic of one window beside its bound.

    Args:
        name: The family.
        subject: The model, share or reason it is about.
        value: In the statistic's own unit; None where it cannot be had.
        bound: What it is held to, in words.
        said: What was found, or why nothing can be.
        remedy: What to do about an alarm or notice.
        asks: What it is a reason for, where it alarms.
    """

    name: str
    subject: str
    value: float | None
    bound: str
    judgement: Judgement
    said: str
    remedy: str = ""
    asks: Trigger | None = None

    @property
    def is_alarm(self) -> bool:
        """Whether something is broken."""
        return self.judgement is Judgement.ALARM

    def to_json(self) -> dict[str, Any]:
        """Plain values; a number that is none is null."""
        plain = asdict(self)
        if self.value is not None and not isfinite(self.value):
            plain["value"] = None
        return plain


def unjudged(name: str, subject: str, why: str) -> Signal:
    """A signal that says nothing, and why."""
    return Signal(name, subject, None, "", Judgement.UNJUDGED, why)


def judged(is_broken: bool) -> Judgement:  # noqa: FBT001  the whole question
    """Alarm or fine."""
    return Judgement.ALARM if is_broken else Judgement.FINE
