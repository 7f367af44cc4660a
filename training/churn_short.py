"""Churn where the log is too short or too small for trees: BG/NBD, which needs no label.

It is fitted on everybody who was ever active. Where enough labels have matured, it is tried on
the newest of them beside logistic RFM (`churn_trial`), and what does best there serves.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.report import Report, Row, Sample
from models.specs.churn import SPEC
from training import plots, tested
from training.churn_labels import label_of, typical
from training.churn_trial import (
    MIN_OF_A_CLASS,
    MIN_ROWS,
    PLAIN,
    Past,
    best_of,
    cohort_at,
    fitted,
    past_of,
    tried,
)
from training.curve import Curve
from training.dataset import fingerprint
from training.decided import of_bands
from training.errors import LabelsImmatureError, TooFewRowsError
from training.export import Exported, prove
from training.graphs import Nodes, of_nodes
from training.opt_outs import fit_opt_outs
from training.recipe import Order, Trained, shown_day
from training.silence import Silence, pasts

MIN_PEOPLE, MIN_REPEATS = 50, 25

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


def train_short(
    order: Order, horizon: float, *, why: LabelsImmatureError | TooFewRowsError
) -> Trained:
    """Train a churn candidate without trees.

    Args:
        why: What the trees were refused for.

    Raises:
        LabelsImmatureError: The log is shorter than the horizon.
        TooFewRowsError: Fewer than 50 people were ever active, or they came back fewer than 25
            times together.
        ParityError: The exported graph and the formula disagree.
    """
    order.need_days(SPEC.name, horizon)
    order.step("features: everybody who was ever active")
    spine, rows = cohort_at(order, order.as_of)
    _require(rows)
    past = past_of(order, horizon)
    order.step("opt-outs: mail by mail")
    leaving = fit_opt_outs(order)
    order.step("fitting BG/NBD")
    answers = tried(order, past, horizon) if past.is_enough else {}
    method = best_of(past, answers) if answers else PLAIN
    model = fitted(method, rows, past, horizon)
    order.step("export: proving the graph")
    exported = silence_graph(model, leaving.curves, rows)
    report = Report(
        model=SPEC.name,
        as_of=shown_day(order.as_of),
        test="no label was enough to measure by; nothing was measured",
        gain_of="log loss",
        row=Row(method, {}),
        baselines=[],
        parity=exported.parity,
        facts=_facts(model, rows, horizon) | dict(leaving.facts),
        notes=_notes(past, method, why),
        sample=Sample(0, 0, 0),
    )
    pictures = {}
    if answers:
        report = _measured(order, report, label_of(horizon), past, answers)
        y, p = past.y[past.is_test], answers[method]
        pictures = {
            "calibration.png": plots.calibration(y, p, title="churn: predicted and observed"),
            "baselines.png": plots.baselines(report, "log loss"),
        }
    about = {
        "as_of": report.as_of,
        "trained_rows": len(rows),
        "prior": float(np.round(model.predict(rows).mean(), 6)),
        "typical": typical(rows),
        "fingerprint": fingerprint(spine, rows, past.y),
        "label": label_of(horizon),
        "horizon_days": horizon,
    }
    parameters = {"horizon_days": horizon, "seed": order.seed, "method": method}
    return Trained(exported, report, about, parameters, pictures)


def silence_graph(model: Silence | Curve, curves: Mapping[str, Curve], rows: Rows) -> Exported:
    """The model and the curves of opt-outs as the graph of a churn bundle, proven on the rows."""
    g, name = Nodes(), SPEC.outputs[0].name
    if isinstance(model, Curve):
        g.curve("rows", model, output=name)
    else:
        model.nodes(g, "rows", output=name)
    for other, curve in curves.items():
        g.curve("rows", curve, output=other)
    answers = {name: model.predict} | {n: c.predict for n, c in curves.items()}

    def native(part: Rows) -> dict[str, Rows]:
        return {n: f(part).astype(np.float32)[:, None] for n, f in answers.items()}

    return prove(SPEC, of_nodes(g, SPEC), native, rows)


def _require(rows: Rows) -> None:
    repeats = round(float(pasts(rows)[0].sum()))
    if len(rows) < MIN_PEOPLE:
        what = "people who were ever active"
        raise TooFewRowsError(SPEC.name, rows=len(rows), need=MIN_PEOPLE, what=what)
    if repeats < MIN_REPEATS:
        what = "active hours after somebody's first"
        raise TooFewRowsError(SPEC.name, rows=repeats, need=MIN_REPEATS, what=what)


def _measured(
    order: Order, report: Report, label: str, past: Past, answers: Mapping[str, Floats]
) -> Report:
    """The report with what each method made of the newest labels, the one that serves first."""
    method, test, y = report.row.method, past.test, past.y[past.is_test]
    old = order.champion_answers(label, SPEC.outputs[0].name, past.rows[past.is_test])
    methods = {method: answers[method]} | dict(answers) | {k: p[:, 0] for k, p in old.items()}
    found = tested.of_probabilities(y, methods, test)
    shown = f"{len(y)} recipients at {shown_day(int(test['at'][0]))}, {y.mean():.1%} silent after"
    people = test["recipient_key"].to_list()
    report = replace(
        report,
        test=shown,
        row=found.row,
        baselines=found.baselines,
        decisions=next((of_bands(answers[method], p[:, 0], people) for p in old.values()), None),
    )
    return found.complete(report, order.data)


def _facts(model: Silence | Curve, rows: Rows, horizon: float) -> dict[str, str]:
    silent = float(model.predict(rows).mean())
    told = {
        "horizon": f"{horizon:g} days",
        "cohort": f"{len(rows)} people ever active, {silent:.1%} expected to be silent",
    }
    if isinstance(model, Curve):
        return told
    m = model.model
    return told | {
        "BG/NBD": f"r {m.r:.3f}, alpha {m.alpha:.2f} weeks, a {m.a:.3f}, b {m.b:.3f}",
        "Platt": f"slope {model.platt.slope:.3f}, intercept {model.platt.intercept:+.3f}",
    }


def _notes(past: Past, method: str, why: LabelsImmatureError | TooFewRowsError) -> list[str]:
    n = int(past.is_test.sum())
    notes = [f"Too little for trees: {why.found}. {method} serves in their place."]
    if n == 0:
        notes.append("No label has matured; BG/NBD needs none.")
    elif not past.is_enough:
        notes.append(
            f"{n} labels have matured, {past.y[past.is_test].mean():.0%} of them silent: too few "
            f"to choose or to measure by ({MIN_ROWS}, and {MIN_OF_A_CLASS} of each outcome)."
        )
    else:
        notes.append(
            "Each recipient of the test was foretold by what was learnt from others, BG/NBD from "
            "everybody's past up to the test; what serves was fitted on the whole log since."
        )
        notes.append("The best of three was picked by this very test, which flatters it a little.")
    return [*notes, "Risk says who is leaving, not whom a mail would keep."]
