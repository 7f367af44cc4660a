"""What is exported has learnt from every label there is; what is told of it has not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from models.runtime import Session
from models.specs.churn import RISKS, SPEC
from training.baselines import logistic
from training.calibration import Platt, fit_bent
from training.curve import Curve
from training.errors import TooFewRowsError
from training.pointwise import Labelled, Leaves, fit_pointwise, recent_of, require
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


def fitted(data: Labelled, **settings):
    curve = Curve(np.array([1]), np.ones(1), np.array([0.2]), -5.0)
    order = Order(None, as_of=10, first=0)  # type: ignore[arg-type]  nothing of the log is asked
    return fit_pointwise(
        SPEC, order, data, leaves=Leaves(50), beside=dict.fromkeys(RISKS, curve), **settings
    )


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


def test_where_few_ones_depend_on_many_inputs_a_little_trees_added_to_a_curve_are_better(data):
    rng = np.random.default_rng(6)
    logs = np.log1p(data.rows.astype(np.float64))
    p = expit(-4.0 + (logs - logs.mean(axis=0)) @ rng.normal(0.0, 0.4, logs.shape[1]))
    few = replace(
        data,
        y=(rng.random(len(p)) < p).astype(np.float64),
        is_recent=np.zeros(len(p), np.bool_),
        is_test=data.at == 5,
    )
    assert 100 < few.y[~few.is_test].sum() < 400

    def rank_of_truth(**settings):
        return spearmanr(fitted(few, **settings).p, p[few.is_test]).statistic

    started, plain = rank_of_truth(starts=True), rank_of_truth()
    assert started > plain + 0.05, (started, plain)


def test_a_share_of_the_zeros_gives_the_chances_of_all_of_them(data):
    whole = replace(data, is_recent=np.zeros(len(data.y), np.bool_), is_test=data.at == 5)
    drawn = np.random.default_rng(7).random(len(data.y)) < 0.3
    some = whole.is_test | (whole.y == 1.0) | drawn
    people = [key for key, is_in in zip(whole.recipients, some, strict=True) if is_in]
    part = Labelled(
        whole.rows[some], whole.y[some], people,
        whole.at[some], whole.is_test[some], whole.is_recent[some], kept=0.3,
    )  # fmt: skip
    for starts in (False, True):
        found, known = fitted(part, starts=starts), fitted(whole, starts=starts)
        assert found.p.mean() == pytest.approx(known.p.mean(), abs=0.05)
        assert found.base_rate == pytest.approx(known.base_rate, abs=0.02)
    fit, before = ~part.is_test, ~whole.is_test
    told = logistic(part.rows[fit], part.y[fit], whole.rows[before], kept=0.3)
    assert told.mean() == pytest.approx(whole.y[before].mean(), abs=0.02)


@pytest.mark.parametrize("platt", [Platt(), Platt(0.3, 2.0), BENT])
def test_raw_scores_come_back_from_probabilities(platt):
    raw = np.linspace(-3, 3, 50)
    np.testing.assert_allclose(platt.raw_of(platt.apply(raw)), raw, atol=1e-6)


@pytest.mark.parametrize(
    ("n_positive", "rows", "said"),
    [
        (40, 100, "40 of the rarer class among 500 training rows, at least 50 are needed"),
        (60, 1_000, "500 training rows, at least 1000 are needed"),
    ],
)
def test_too_little_is_refused_by_the_number_that_is_too_small(n_positive, rows, said):
    y = np.zeros(1_000)
    y[:n_positive] = y[500 : 500 + n_positive] = 1.0
    with pytest.raises(TooFewRowsError, match=said):
        require("churn", y, np.arange(1_000) >= 500, rows=rows, rarer=50)
