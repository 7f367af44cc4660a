"""What every method made of the test rows: where a report's table and slices come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.report import ALTERNATIVE, CHAMPION, Report, Row, Sample
from training import clusters, comparison, metrics, slices
from training.dataset import PointInTime
from training.traits import traits_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tested:
    """Rows measured one by one, all in one order.

    Args:
        spine: Columns recipient_key and at of what is measured.
        row: The model.
        others: Baselines, alternatives, and the champion where it answered.
        value: The model's main measure, shape (n,).
        gain: By method what the model has over it, shape (n,); more is better.
        score: What orders the rows for the top decile, shape (n,).
        outcome: Labels and probabilities, each (n,), where the measure is about probabilities.
    """

    spine: pl.DataFrame
    row: Row
    others: Sequence[Row]
    value: Floats
    gain: Mapping[str, Floats]
    score: Floats
    outcome: tuple[Floats, Floats] | None = None

    @property
    def baselines(self) -> list[Row]:
        """The others but the champion and the alternatives."""
        return [r for r in self.others if not r.method.startswith((CHAMPION, ALTERNATIVE))]

    @property
    def alternatives(self) -> list[Row]:
        """Other ways to fit the same rows."""
        return [row for row in self.others if row.method.startswith(ALTERNATIVE)]

    @property
    def champion(self) -> Row | None:
        """The champion on these rows."""
        return next((row for row in self.others if row.method.startswith(CHAMPION)), None)

    def complete(self, report: Report, data: PointInTime) -> Report:
        """The report with the champion, the slices, the calibration and the sample."""
        people = self.spine["recipient_key"].to_numpy().astype(str)
        sample = Sample(len(np.unique(people)))
        calibration = None
        if self.outcome is not None:
            y, p = self.outcome
            sample = replace(sample, positives=int(y.sum()), negatives=int((1 - y).sum()))
            calibration = clusters.calibration(y, p, people.tolist())
        best = report.best_baseline
        columns = {"value": self.value}
        if best is not None:
            columns["gain"] = self.gain[best.method]
        if self.champion is not None:
            columns["over_champion"] = self.gain[self.champion.method]
        families = traits_of(data, self.spine, self.score)
        return replace(
            report,
            champion=self.champion,
            alternatives=self.alternatives,
            calibration=calibration,
            sample=sample,
            slices=slices.measured(families, people, columns, self.outcome),
        )


def of_probabilities(y: Floats, methods: Mapping[str, Floats], spine: pl.DataFrame) -> Tested:
    """Probabilities by method, the model first; the gain is the log loss it saves."""
    row, others = comparison.of_probabilities(y, methods, spine["recipient_key"].to_list())
    losses = {name: metrics.log_losses(y, p) for name, p in methods.items()}
    p = methods[row.method]
    own = losses[row.method]
    gain = {name: loss - own for name, loss in losses.items()}
    return Tested(spine, row, others, own, gain, p, (y, p))


def of_values(
    values: Mapping[str, Mapping[str, Floats]], spine: pl.DataFrame, *, score: Floats
) -> Tested:
    """Measures that are means of a value per row, by measure and method; the first decides."""
    main = next(iter(values.values()))
    own = next(iter(main.values()))
    gain = {name: own - value for name, value in main.items()}
    row, others = comparison.of_values(values, gain, spine["recipient_key"].to_list())
    return Tested(spine, row, others, own, gain, score)
