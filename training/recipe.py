"""What a recipe is given and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from features.events.schema import DAY_US, SECOND_US
from models.report import Report
from training.dataset import PointInTime
from training.errors import LabelsImmatureError
from training.export import Exported


@dataclass(frozen=True, slots=True)
class Order:
    """What to train from.

    Args:
        data: The log's events known before `as_of`, and Feast.
        as_of: Microseconds; no label window reaches past it.
        first: The oldest event.
        seed: Decides every draw.
        horizon_days: How far ahead churn looks; chosen from the log's length when None.
        step: Told what is being done, for a person who waits.
    """

    data: PointInTime
    as_of: int
    first: int
    seed: int = 7
    horizon_days: float | None = None
    step: Callable[[str], None] = field(default=lambda _: None)

    @property
    def span_days(self) -> float:
        """Days between the oldest event and `as_of`."""
        return (self.as_of - self.first) / DAY_US

    def need_days(self, model: str, days: float) -> None:
        """Refuse a log too short for mature labels.

        Raises:
            LabelsImmatureError: It spans fewer than `days`.
        """
        if self.span_days < days:
            raise LabelsImmatureError(model, have_days=self.span_days, need_days=days)


@dataclass(frozen=True, slots=True)
class Trained:
    """A proven graph, its report, what its manifest adds, and pictures (name to PNG)."""

    exported: Exported
    report: Report
    about: Mapping[str, Any]
    parameters: Mapping[str, Any]
    pictures: Mapping[str, bytes]


class Recipe(Protocol):
    """One model's training: labels, fit, export, report on the exported graph."""

    def __call__(self, order: Order) -> Trained:
        """Train one candidate.

        Raises:
            LabelsImmatureError: The label windows do not fit into the log before `as_of`.
            TooFewRowsError: Too few labelled rows or all of one class.
            ParityError: The exported graph and the estimator disagree.
        """
        ...


def shown_day(at: int) -> str:
    """A moment (microseconds) as people read it."""
    return datetime.fromtimestamp(at / SECOND_US, UTC).strftime("%Y-%m-%d %H:%M UTC")
