"""What is exported has learnt from every label there is; what is told of it has not."""

from dataclasses import replace

import numpy as np
import pytest

from models.runtime import Session
from models.specs.churn import RISKS, SPEC
from training.calibration import Platt, fit_bent
from training.opt_outs import Curve
from training.pointwise import Labelled, Leaves, fit_pointwise, recent_of
from training.recipe import Order
from training.trees import raw_score

BENT = Platt(2.0, -4.0, (-1.0, 0.0, 2.0), (-1.5, 0.8, -1.2))
OUTPUT = SPEC.outputs[0].name


@pytest.fixture(scope="module")
def data():
    """Six moments of 1,000 people; the base rate of the newest is another one."""
    rng = np.random.default_rng(4)
    people = [f"r{n}" for n in range(1_000)] * 6
    at = np.repeat(np.arange(6), 1_000)
    rows = rng.gamma(1.0, 2.0, (len(at), len(SPEC.inputs))).astype(np.float32)
    z = 1.5 - 0.8 * rows[:, 0] + 0.3 * rows[:, 3] + 1.2 * (at == 5)
    y = (rng.random(len(at)) < 1 / (1 + np.exp(-z))).astype(np.float64)
    recent = recent_of(SPEC, people, y, at == 5)
    return Labelled(rows, y, people, at, (at == 5) & ~recent, recent)


def fitted(data: Labelled):
    curve = Curve(np.array([1]), np.ones(1), np.array([0.2]), -5.0)
    order = Order(None, as_of=10, first=0)  # type: ignore[arg-type]  nothing of the log is asked
    return fit_pointwise(SPEC, order, data, leaves=Leaves(50), beside=dict.fromkeys(RISKS, curve))


def test_the_figures_know_nothing_of_the_tests_labels_and_the_export_all_of_them(data):
    one = fitted(data)
    turned = np.where(data.is_test, 1 - data.y, data.y)
    other = fitted(replace(data, y=turned))
    np.testing.assert_allclose(other.p, one.p, atol=1e-5)
    assert other.measured == one.measured
    assert other.model.platt.intercept < one.model.platt.intercept - 0.5
    assert other.exported.graph != one.exported.graph


def test_the_figures_are_of_the_exported_graphs_own_scores(data):
    found = fitted(data)
    rows = np.ascontiguousarray(data.rows[data.is_test])
    raw = raw_score(found.model.booster, rows)
    np.testing.assert_allclose(found.p, found.measured.apply(raw), atol=2e-5)
    exported = Session(found.exported.graph, SPEC).run(rows)[OUTPUT][:, 0]
    newest = data.is_test | data.is_recent
    everybody = fit_bent(raw_score(found.model.booster, data.rows[newest]), data.y[newest])
    assert found.model.platt == everybody
    np.testing.assert_allclose(exported, everybody.apply(raw), atol=1e-5)
    assert found.base_rate == pytest.approx(data.y[newest].mean(), abs=1e-6)


def test_without_recent_rows_both_are_the_calibration_on_older_ones(data):
    none = replace(data, is_test=data.at == 5, is_recent=np.zeros(len(data.y), np.bool_))
    found = fitted(none)
    assert found.measured == found.model.platt
    np.testing.assert_allclose(found.p, found.p_before)


@pytest.mark.parametrize("platt", [Platt(), Platt(0.3, 2.0), BENT])
def test_raw_scores_come_back_from_probabilities(platt):
    raw = np.linspace(-3, 3, 50)
    np.testing.assert_allclose(platt.raw_of(platt.apply(raw)), raw, atol=1e-6)
