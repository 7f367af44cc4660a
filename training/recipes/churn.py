"""Churn: who will show no sign of life within the horizon.

Snapshots every week; the newest whose label window has closed is the test, older ones whose
windows close before it train. LightGBM on decayed counters, Platt on recipients held out, at the
test's moment and the weeks before it; recency, RFM and BG/NBD stand beside it.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from models.report import Report
from models.specs.churn import SPEC
from training import labels, learning_curve, plots, tested
from training.baselines import (
    base_rate,
    bgnbd_silence,
    logistic,
    recalibrated,
    recency_curve,
)
from training.dataset import fingerprint
from training.metrics import ece, log_loss
from training.opt_outs import fit_opt_outs
from training.pointwise import Fitted, Labelled, Leaves, apart, fit_pointwise, recent_of, require
from training.recipe import Order, Trained, shown_day
from training.splits import held_out, snapshots

HORIZONS: Final = (90.0, 56.0, 28.0, 14.0)
SNAPSHOT_DAYS: Final = 7.0
MAX_TRAIN_SNAPSHOTS: Final = 20
MAX_TRAIN_ROWS: Final = 150_000
CALIBRATED_DAYS: Final = 21.0  # up to the test: more rows, hardly older
TRAIN_DAYS: Final = 84.0  # of snapshots, for a horizon to be chosen
WARM_DAYS: Final = 28.0
MIN_ROWS, MIN_OF_A_CLASS = 300, 30
AT_RISK_DAYS: Final = {True: 180, False: 365}  # with and without mail in the log
# What the simple baselines need besides the model's own inputs.
RFM: Final = ("active_total", "days_since_active", "days_since_first_active", "spent_total")

Floats = NDArray[np.float64]


def train(order: Order) -> Trained:
    """Train one churn candidate; see `recipe.Recipe`."""
    horizon = order.horizon_days or _horizon(order)
    order.need_days(SPEC.name, 2 * horizon + WARM_DAYS)
    order.step("labels: who went silent")
    spine, y = _labelled(order, horizon)

    order.step("features: joining the snapshots in Feast")
    names = list(dict.fromkeys([*SPEC.inputs, *RFM]))
    frame = order.data.recipient(spine, names)
    # Whom labels of today call active may have shown nothing sure to the features of the day.
    was_active = ~np.isnan(frame[:, names.index("days_since_active")])
    spine, y, frame = spine.filter(pl.Series(was_active)), y[was_active], frame[was_active]
    newest = max(spine["at"].to_list(), default=0)
    is_late = (spine["at"] >= _late_since(newest, horizon)).to_numpy()
    is_recent = recent_of(SPEC, spine["recipient_key"].to_list(), y, is_late)
    kept = is_recent | (spine["at"] == newest).to_numpy() | ~is_late
    spine, y, frame, is_recent = (
        spine.filter(pl.Series(kept)),
        y[kept],
        frame[kept],
        is_recent[kept],
    )
    people = spine["recipient_key"].to_list()
    is_test = (spine["at"] == newest).to_numpy() & ~is_recent
    require(SPEC.name, y, is_test, rows=MIN_ROWS, rarer=MIN_OF_A_CLASS)
    rows = np.ascontiguousarray(frame[:, : len(SPEC.inputs)])
    data = Labelled(rows, y, people, spine["at"].to_numpy(), is_test, is_recent)
    order.step("opt-outs: mail by mail")
    leaving = fit_opt_outs(order)
    fitted = fit_pointwise(SPEC, order, data, leaves=Leaves(50, 500), beside=leaving.curves)
    table = dict(zip(names, frame.T.astype(np.float64), strict=True))
    late = is_test | is_recent
    others = _baselines(table, y, ~late, late, horizon)
    others = {name: recalibrated(p, y[late], is_recent[late]) for name, p in others.items()}
    label = f"no human engagement for {horizon:g} days, or an opt-out"
    old = order.champion_answers(label, SPEC.outputs[0].name, rows[is_test])
    methods = {"LightGBM, calibrated": fitted.p, **others} | {k: p[:, 0] for k, p in old.items()}
    found = tested.of_probabilities(y[is_test], methods, spine.filter(pl.Series(is_test)))
    curve = learning_curve.of_trees(data, SPEC, seed=order.seed)
    report = Report(
        model=SPEC.name,
        as_of=shown_day(order.as_of),
        test=f"{is_test.sum()} recipients at {shown_day(newest)}, "
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
    )
    report = found.complete(report, order.data)
    pictures = {
        "calibration.png": plots.calibration(
            y[is_test], fitted.p, title="churn: predicted and observed"
        ),
        "baselines.png": plots.baselines(report, "log loss"),
        "importance.png": plots.importance(fitted.model.importance()),
        "contributions.png": plots.contributions(fitted.model.contributions(rows[is_test])),
        "learning_curve.png": plots.learning_curve(curve),
    }
    about = {
        "as_of": shown_day(order.as_of),
        "trained_rows": fitted.n_fit,
        "prior": fitted.base_rate,
        "typical": _typical(rows),
        "fingerprint": fingerprint(spine, rows, y),
        "label": label,
        "horizon_days": horizon,
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


def _horizon(order: Order) -> float:
    """The longest horizon that leaves room for a few training snapshots."""
    fits = [h for h in HORIZONS if order.span_days >= 2 * h + TRAIN_DAYS]
    return fits[0] if fits else HORIZONS[-1]


def _labelled(order: Order, horizon: float) -> tuple[pl.DataFrame, Floats]:
    events = order.data.events
    engaged, left = labels.engagements(events), labels.opt_outs(events)
    horizon_us = round(horizon * DAY_US)
    test = order.as_of - horizon_us
    older = snapshots(
        first=order.first + round(WARM_DAYS * DAY_US),
        last=test - horizon_us,
        step_days=SNAPSHOT_DAYS,
        at_most=MAX_TRAIN_SNAPSHOTS,
    )
    mails = labels.deliveries(events)
    since = AT_RISK_DAYS[not mails.is_empty()]
    late = snapshots(
        first=_late_since(test, horizon),
        last=test,
        step_days=SNAPSHOT_DAYS,
        at_most=MAX_TRAIN_SNAPSHOTS,
    )
    parts = []
    for at in (*late, *older):
        keys = labels.at_risk(mails, engaged, left, at=at, since_days=since)
        part = pl.DataFrame({"recipient_key": keys}, schema={"recipient_key": pl.String})
        if at in late[1:]:  # to calibrate on, and nothing else
            part = part.filter(pl.Series(apart(SPEC, keys), dtype=pl.Boolean))
        parts.append(part.with_columns(pl.lit(at, pl.Int64).alias("at")))
    spine = pl.concat([*parts[: len(late)], _fewer(pl.concat(parts[len(late) :]))])
    return spine, labels.churned(spine, engaged, left, horizon_us=horizon_us)


def _late_since(test: int, horizon: float) -> int:
    """From here on label windows reach beyond the test's moment: nobody may train on them."""
    return test - round(min(CALIBRATED_DAYS, horizon) * DAY_US) + 1


def _fewer(older: pl.DataFrame) -> pl.DataFrame:
    """All snapshots of some recipients, where those of all would be too many rows."""
    share = MAX_TRAIN_ROWS / max(len(older), 1)
    if share >= 1.0:
        return older
    kept = held_out(older["recipient_key"].to_list(), share=share, salt="fewer")
    return older.filter(pl.Series(kept))


def _baselines(
    table: Mapping[str, Floats],
    y: Floats,
    fit: NDArray[np.bool_],
    test: NDArray[np.bool_],
    horizon: float,
) -> dict[str, Floats]:
    """Silence predicted by the methods a careful analyst would try first."""
    recency = table["days_since_active"]
    rfm = np.stack([np.log1p(np.maximum(table[name], 0.0)) for name in RFM], axis=1)
    return {
        "base rate": base_rate(y[fit], int(test.sum())),
        "recency": recency_curve(recency[fit], y[fit], recency[test]),
        "BG/NBD": bgnbd_silence(
            table["active_total"][test],
            table["days_since_first_active"][test],
            recency[test],
            horizon,
        ),
        "logistic RFM": logistic(rfm[fit], y[fit], rfm[test]),
    }


def _typical(rows: NDArray[np.float32]) -> list[float]:
    """The median of each input, zero where it was always missing."""
    has_any = ~np.isnan(rows).all(axis=0)
    middle = np.zeros(rows.shape[1])
    middle[has_any] = np.nanmedian(rows[:, has_any], axis=0)
    return [round(float(value), 6) for value in middle]


def _facts(spine: pl.DataFrame, data: Labelled, fitted: Fitted, horizon: float) -> dict[str, str]:
    moments = sorted(spine["at"].unique())
    earlier, platt = data.y[~data.is_test & ~data.is_recent], fitted.model.platt
    y = data.y[data.is_test]
    return {
        "horizon": f"{horizon:g} days",
        "snapshots": f"{len(moments)} from {shown_day(moments[0])} to {shown_day(moments[-1])}",
        "training rows": f"{len(earlier)}, {earlier.mean():.1%} silent",
        "trees": str(fitted.model.booster.num_trees()),
        "Platt": f"slope {platt.slope:.3f}, intercept {platt.intercept:+.3f}, "
        f"on {data.is_recent.sum()} newest rows of recipients held out",
        "without the newest calibration": f"log loss {log_loss(y, fitted.p_before):.4f}, "
        f"ECE {ece(y, fitted.p_before):.4f}",
    }


def _notes(y: Floats, fitted: Fitted) -> list[str]:
    notes = [
        "Risk says who is leaving, not whom a mail would keep.",
        "Model and baselines are calibrated on the newest labels of recipients held out.",
    ]
    older = float(fitted.p_before.mean())
    if abs(older - float(y.mean())) > 0.03:
        notes.append(
            f"The base rate moved (older rows say {older:.1%}, observed {y.mean():.1%}); a season "
            "does that, and may again before the next retrain. The order of risks stays."
        )
    return notes
