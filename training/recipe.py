"""What a recipe is given and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US, SECOND_US
from models.bundle import Bundle
from models.report import CHAMPION, Report
from training.calibration import Platt
from training.dataset import PointInTime
from training.errors import LabelsImmatureError
from training.export import Exported
from training.search import Bound

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sitting:
    """The champion of the day, to be measured on the candidate's own test rows."""

    version: str
    bundle: Bundle

    @property
    def method(self) -> str:
        """What its row in a report is called."""
        return f"{CHAMPION} {self.version}"


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
        champion: The model's champion, None where there is none that can be loaded.
        n_erasures: How many erasures were over when the log was read; None where nobody asked.
        search: How long to search for settings of the trees, for each model that has any.
    """

    data: PointInTime
    as_of: int
    first: int
    seed: int = 7
    horizon_days: float | None = None
    step: Callable[[str], None] = field(default=lambda _: None)
    champion: Sitting | None = None
    search: Bound = field(default_factory=Bound)
    n_erasures: int | None = None

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

    def champion_answers(
        self, label: str, output: str, rows: NDArray[np.float32], *, known_at: int | None = None
    ) -> dict[str, Floats]:
        """By method, what the champion answers to test rows, shape (n, width).

        Empty where the comparison would not be honest: there is no champion, it was trained for
        another label, or at a later moment, so that it may have seen these very rows.

        Args:
            known_at: When the rows' labels were known, `as_of` when None. A champion exported
                since with a calibration on all labels answers by the one it was measured with.
        """
        sitting = self.champion
        if sitting is None:
            return {}
        manifest = sitting.bundle.manifest
        if manifest.label != label or manifest.as_of > shown_day(self.as_of):
            return {}
        answers = sitting.bundle.session.run(np.ascontiguousarray(rows))[output].astype(np.float64)
        fitted = manifest.calibrations
        if fitted and manifest.as_of >= shown_day(known_at or self.as_of):
            exported, measured = (
                Platt(**fitted[name].model_dump()) for name in ("exported", "measured")
            )
            raw = exported.raw_of(answers.ravel())
            answers = measured.apply(raw).reshape(answers.shape)
        return {sitting.method: answers}


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
