"""Silence without trees, tried on the newest labels: BG/NBD, the same calibrated, logistic RFM.

Recipients are dealt into folds and each is foretold by what was learnt from the others, so no
label is foretold by itself. BG/NBD knows the whole cohort up to the test's moment, and no label.

Failure mode: where no older labels are at hand all of them are of one window, and what is learnt
from the test's own week knows its season.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from models.specs.churn import SPEC
from training import labels
from training.baselines import base_rate, inside, recency_curve, rfm_curve
from training.calibration import fit_platt
from training.churn_labels import WARM_DAYS, labelled, late_since
from training.curve import Curve
from training.metrics import log_loss
from training.recipe import Order
from training.silence import Silence, fit_silence, log_odds
from training.splits import dealt

MIN_ROWS, MIN_OF_A_CLASS = 200, 20  # labels to choose by
FOLDS: Final = 5
PLAIN, CALIBRATED, LOGISTIC = "BG/NBD", "BG/NBD, calibrated", "logistic RFM"
CHOICE: Final = (PLAIN, CALIBRATED, LOGISTIC)
_RECENCY: Final = SPEC.inputs.index("days_since_active")

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Past:
    """Labelled rows: the newest snapshot, which tests, and those before it.

    Args:
        spine: Columns recipient_key and at.
        learns: The older ones where they are enough to learn from, else the test's own.
    """

    spine: pl.DataFrame
    rows: Rows
    y: Floats
    is_test: Flags
    learns: Flags

    @property
    def is_enough(self) -> bool:
        """Whether methods can be told apart by the test."""
        return _is_enough(self.y[self.is_test])

    @property
    def test(self) -> pl.DataFrame:
        """Who and when, of the test."""
        return self.spine.filter(pl.Series(self.is_test))


def cohort_at(order: Order, at: int) -> tuple[pl.DataFrame, Rows]:
    """Everybody who was active before a moment, whether or not they still are, and their rows."""
    seen = labels.engagements(order.data.events).filter(pl.col("occurred_at") < at)
    keys = seen["recipient_key"].unique().sort()
    return _active(order, pl.DataFrame({"recipient_key": keys}).with_columns(at=pl.lit(at)))[:2]


def past_of(order: Order, horizon: float) -> Past:
    """The labels that have matured; no rows where the log is too short for any."""
    spine = pl.DataFrame(schema={"recipient_key": pl.String, "at": pl.Int64})
    y = np.zeros(0)
    if order.span_days >= horizon + WARM_DAYS:
        spine, y = labelled(order, horizon)
    spine, rows, kept = _active(order, spine)
    y = y[kept]
    test = order.as_of - round(horizon * DAY_US)
    is_test = (spine["at"] == test).to_numpy()
    is_older = (spine["at"] < late_since(test, horizon)).to_numpy()
    learns = is_older if _is_enough(y[is_older]) else is_test
    return Past(spine, rows, y, is_test, learns)


def tried(order: Order, past: Past, horizon: float) -> dict[str, Floats]:
    """By method the chance of silence of every row of the test; the last two are no choice."""
    test = past.test
    people = past.spine["recipient_key"].to_list()
    silence = fit_silence(cohort_at(order, int(test["at"][0]))[1], horizon)
    plain = silence.predict(past.rows)
    days = past.rows[:, _RECENCY].astype(np.float64)
    names = (*CHOICE, "base rate", "recency")
    found = {name: np.full(len(past.y), np.nan) for name in names}
    for fold in dealt(people, into=FOLDS, salt="churn trial"):
        fit, ask = past.learns & ~fold, past.is_test & fold
        y = past.y[fit]
        calibrated = fit_platt(log_odds(plain[fit]), y)
        answers = (
            plain[ask],
            calibrated.apply(log_odds(plain[ask])),
            rfm_curve(past.rows[fit], y).predict(past.rows[ask]),
            base_rate(y, int(ask.sum())),
            recency_curve(days[fit], y, days[ask]),
        )
        for name, answer in zip(names, answers, strict=True):
            found[name][ask] = inside(answer)
    return {name: p[past.is_test] for name, p in found.items()}


def best_of(past: Past, answers: Mapping[str, Floats]) -> str:
    """The method with the least log loss, among those that can serve."""
    y = past.y[past.is_test]
    return min(CHOICE, key=lambda name: log_loss(y, answers[name]))


def fitted(method: str, cohort: Rows, past: Past, horizon: float) -> Silence | Curve:
    """The method on all there is: the whole cohort and every label."""
    used = past.learns | past.is_test
    rows, y = past.rows[used], past.y[used]
    if method == LOGISTIC:
        return rfm_curve(rows, y)
    silence = fit_silence(cohort, horizon)
    if method == PLAIN:
        return silence
    return replace(silence, platt=fit_platt(log_odds(silence.predict(rows)), y))


def _active(order: Order, spine: pl.DataFrame) -> tuple[pl.DataFrame, Rows, Flags]:
    """The rows of those who have shown something sure, and which they are."""
    if spine.is_empty():
        return spine, np.zeros((0, len(SPEC.inputs)), np.float32), np.zeros(0, np.bool_)
    rows = order.data.recipient(spine, SPEC.inputs)
    kept = ~np.isnan(rows[:, _RECENCY])
    return spine.filter(pl.Series(kept)), rows[kept], kept


def _is_enough(y: Floats) -> bool:
    return len(y) >= MIN_ROWS and min(y.sum(), (1 - y).sum()) >= MIN_OF_A_CLASS
