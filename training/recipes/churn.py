"""Churn: who will show no sign of life within the horizon.

LightGBM on decayed counters, calibrated on recipients held out, at the test's moment and the weeks
before it (`churn_labels`); recency, RFM and BG/NBD stand beside it. Where the log is too short or
too small for that, BG/NBD answers, or logistic RFM (`churn_short`).
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from models.report import Report
from models.specs.churn import SPEC
from training import learning_curve, plots, tested
from training.baselines import base_rate, inside, recalibrated, recency_curve, rfm_curve
from training.churn_labels import (
    WARM_DAYS,
    for_trees,
    horizon_of,
    label_of,
    labelled,
    late_since,
    typical,
)
from training.churn_short import train_short
from training.dataset import fingerprint
from training.decided import of_bands
from training.errors import LabelsImmatureError, TooFewRowsError
from training.metrics import ece, log_loss
from training.opt_outs import fit_opt_outs
from training.pointwise import Fitted, Labelled, Leaves, fit_pointwise, recent_of, require
from training.recipe import Order, Trained, shown_day
from training.silence import fit_silence

MIN_ROWS, MIN_OF_A_CLASS = 300, 30

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


class _Table(NamedTuple):
    """The labelled rows: who and when, all inputs, and what the trees see of them."""

    spine: pl.DataFrame
    rows: Rows
    data: Labelled


def train(order: Order) -> Trained:
    """Train one churn candidate; see `recipe.Recipe`."""
    horizon = horizon_of(order)
    try:
        spine, rows, data = _table(order, horizon)
    except (LabelsImmatureError, TooFewRowsError) as short:
        return train_short(order, horizon, why=short)
    y, is_test, is_recent = data.y, data.is_test, data.is_recent
    order.step("opt-outs: mail by mail")
    leaving = fit_opt_outs(order)
    fitted = fit_pointwise(SPEC, order, data, leaves=Leaves(50, 500), beside=leaving.curves)
    late = is_test | is_recent
    others = _baselines(rows, y, late, horizon)
    others = {name: recalibrated(p, y[late], is_recent[late]) for name, p in others.items()}
    label = label_of(horizon)
    known_at = int(data.at.max() + horizon * DAY_US)
    old = order.champion_answers(label, SPEC.outputs[0].name, rows[is_test], known_at=known_at)
    methods = {"LightGBM, calibrated": fitted.p, **others} | {k: p[:, 0] for k, p in old.items()}
    measured = spine.filter(pl.Series(is_test))
    found = tested.of_probabilities(y[is_test], methods, measured)
    asked = measured["recipient_key"].to_list()
    curve = learning_curve.of_trees(data, SPEC, seed=order.seed)
    report = Report(
        model=SPEC.name,
        as_of=shown_day(order.as_of),
        test=f"{is_test.sum()} recipients at {shown_day(int(data.at.max()))}, "
        f"{y[is_test].mean():.1%} silent in the next {horizon:g} days",
        gain_of="log loss",
        row=found.row,
        baselines=found.baselines,
        parity=fitted.exported.parity,
        facts=_facts(spine, data, fitted, horizon)
        | dict(leaving.facts)
        | fitted.facts
        | {"learning curve": curve.meaning},
        notes=_notes(y[is_test], fitted),
        decisions=next((of_bands(fitted.p, p[:, 0], asked) for p in old.values()), None),
    )
    report = found.complete(report, order.data)
    pictures = {
        "calibration.png": plots.calibration(
            y[is_test], fitted.p, title="churn: predicted and observed"
        ),
        "baselines.png": plots.baselines(report, "log loss"),
        "importance.png": plots.importance(fitted.model.importance()),
        "contributions.png": plots.contributions(fitted.model.contributions(data.rows[is_test])),
        "learning_curve.png": plots.learning_curve(curve),
    }
    about = {
        "as_of": shown_day(order.as_of),
        "trained_rows": fitted.n_fit,
        "prior": fitted.base_rate,
        "typical": typical(rows),
        "fingerprint": fingerprint(spine, rows, y),
        "label": label,
        "horizon_days": horizon,
        "calibrations": fitted.calibrations,
    }
    parameters = {
        "horizon_days": horizon,
        "seed": order.seed,
        **fitted.settings,
        "trees": fitted.model.booster.num_trees(),
        "platt_slope": round(fitted.model.platt.slope, 4),
        "platt_intercept": round(fitted.model.platt.intercept, 4),
    }
    return Trained(fitted.exported, report, about, parameters, pictures)


def _table(order: Order, horizon: float) -> _Table:
    order.need_days(SPEC.name, 2 * horizon + WARM_DAYS)
    order.step("labels: who went silent")
    spine, y = labelled(order, horizon)
    if spine.is_empty():
        raise TooFewRowsError(SPEC.name, rows=0, need=MIN_ROWS, what="training rows")

    order.step("features: joining the snapshots in Feast")
    rows = order.data.recipient(spine, SPEC.inputs)
    # Whom labels of today call active may have shown nothing sure to the features of the day.
    was_active = ~np.isnan(rows[:, SPEC.inputs.index("days_since_active")])
    spine, y, rows = spine.filter(pl.Series(was_active)), y[was_active], rows[was_active]
    at = spine["at"].to_numpy()
    newest = at.max(initial=0)
    is_late = at >= late_since(newest, horizon)
    is_recent = recent_of(SPEC, spine["recipient_key"].to_list(), y, is_late)
    kept = is_recent | (at == newest) | ~is_late
    spine, y, rows, at = spine.filter(pl.Series(kept)), y[kept], rows[kept], at[kept]
    is_recent = is_recent[kept]
    is_test = (at == newest) & ~is_recent
    require(SPEC.name, y, is_test, rows=MIN_ROWS, rarer=MIN_OF_A_CLASS)
    people = spine["recipient_key"].to_list()
    return _Table(spine, rows, Labelled(for_trees(rows), y, people, at, is_test, is_recent))


def _baselines(rows: Rows, y: Floats, late: NDArray[np.bool_], horizon: float) -> dict[str, Floats]:
    """Silence predicted by the methods a careful analyst would try first."""
    recency = rows[:, SPEC.inputs.index("days_since_active")].astype(np.float64)
    return {
        "base rate": base_rate(y[~late], int(late.sum())),
        "recency": recency_curve(recency[~late], y[~late], recency[late]),
        "BG/NBD": inside(fit_silence(rows[late], horizon).predict(rows[late])),
        "logistic RFM": inside(rfm_curve(rows[~late], y[~late]).predict(rows[late])),
    }


def _facts(spine: pl.DataFrame, data: Labelled, fitted: Fitted, horizon: float) -> dict[str, str]:
    moments = sorted(spine["at"].unique())
    earlier = data.y[~data.is_test & ~data.is_recent]
    y = data.y[data.is_test]
    return {
        "horizon": f"{horizon:g} days",
        "snapshots": f"{len(moments)} from {shown_day(moments[0])} to {shown_day(moments[-1])}",
        "training rows": f"{len(earlier)}, {earlier.mean():.1%} silent",
        "trees": str(fitted.model.booster.num_trees()),
        "calibration, measured": f"{fitted.measured.meaning}, on {data.is_recent.sum()} newest "
        "rows of recipients held out",
        "calibration, exported": f"{fitted.model.platt.meaning}, on those and the test's",
        "without the newest calibration": f"log loss {log_loss(y, fitted.p_before):.4f}, "
        f"ECE {ece(y, fitted.p_before):.4f}",
    }


def _notes(y: Floats, fitted: Fitted) -> list[str]:
    notes = [
        "Risk says who is leaving, not whom a mail would keep.",
        "Model and baselines are calibrated on the newest labels of recipients held out; the "
        "exported calibration has learnt from the test's labels as well, the figures have not.",
    ]
    older = float(fitted.p_before.mean())
    if abs(older - float(y.mean())) > 0.03:
        notes.append(
            f"The base rate moved (older rows say {older:.1%}, observed {y.mean():.1%}); a season "
            "does that, and may again before the next retrain. The order of risks stays."
        )
    return notes
