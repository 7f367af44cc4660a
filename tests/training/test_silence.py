"""Laws of silence without labels: the graph is the formula, and trees do not see its inputs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.runtime import Session
from models.specs.churn import HISTORY, SPEC
from training.bgnbd import BgNbd
from training.calibration import Platt
from training.churn_labels import for_trees
from training.churn_short import silence_graph
from training.graphs import trees_graph
from training.opt_outs import usual
from training.silence import Silence, fit_silence, pasts
from training.trees import CalibratedTrees, fit_trees

COUNT, TENURE, RECENCY = (
    SPEC.inputs.index(name)
    for name in ("active_total", "days_since_first_active", "days_since_active")
)
MODELS = st.builds(
    BgNbd, st.floats(0.05, 20.0), st.floats(0.05, 500.0), st.floats(0.01, 50), st.floats(0.01, 50)
)


def rows_of(seed, n=400):
    """Pasts of a day to ten years, of one active hour to thousands; some know nothing."""
    rng = np.random.default_rng(seed)
    rows = rng.gamma(1.0, 2.0, (n, len(SPEC.inputs))).astype(np.float32)
    rows[:, COUNT] = np.ceil(np.exp(rng.uniform(0, 8, n)))
    rows[:, TENURE] = np.exp(rng.uniform(0, 8, n))
    rows[:, RECENCY] = rows[:, TENURE] * rng.random(n)
    rows[:40, COUNT], rows[:40, RECENCY] = 1, rows[:40, TENURE]
    rows[40:60] = np.nan
    return rows


@settings(max_examples=25)
@given(MODELS, st.integers(0, 99), st.floats(0.1, 60.0), st.sampled_from([Platt(), Platt(0.7, 1)]))
def test_the_graph_is_the_formula(model, seed, span, platt):
    rows = rows_of(seed)
    silence = Silence(model, span, platt)
    answer = Session(silence_graph(silence, usual(), rows).graph, SPEC).run(rows)
    expected = model.p_silent(span, *pasts(rows))
    if platt != Platt():
        odds = np.clip(expected, 1e-7, 1 - 1e-7)
        expected = platt.apply(np.log(odds / (1 - odds)))
    np.testing.assert_allclose(answer["p_churn"][:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(answer["p_unsubscribe"], 0.002, atol=1e-5)


def test_the_past_is_counted_in_weeks_after_the_first_hour():
    rows = np.full((2, len(SPEC.inputs)), np.nan, np.float32)
    rows[0, [COUNT, TENURE, RECENCY]] = 5, 28, 7
    repeats, newest, age = pasts(rows)
    assert (repeats[0], newest[0], age[0]) == (4, 3, 4)
    assert (repeats[1], newest[1], age[1]) == (0, 0, 0)


def test_a_cohort_gives_the_parameters_that_any_order_of_it_gives():
    rows = rows_of(5)
    found, again = (fit_silence(part, 14.0) for part in (rows, rows[::-1]))
    assert found.span == 2.0
    np.testing.assert_allclose(found.predict(rows), again.predict(rows), atol=1e-3)


def test_trees_answer_alike_whatever_the_inputs_of_the_fallback_say():
    rows = rows_of(1, n=1_200)
    y = (rows[:, COUNT] > np.median(rows[:, COUNT])).astype(np.float64)  # they would say it all
    seen = for_trees(rows)
    booster = fit_trees(
        (seen[:800], y[:800]), (seen[800:], y[800:]), inputs=SPEC.inputs, seed=1,
        learning_rate=0.3, min_data_in_leaf=20,
    )  # fmt: skip
    graph = trees_graph(CalibratedTrees(booster, Platt(), SPEC.inputs), SPEC, beside=usual())
    session = Session(graph, SPEC)
    other = rows.copy()
    other[:, [SPEC.inputs.index(name) for name in HISTORY]] = 1e6
    for one in (seen, other):
        np.testing.assert_array_equal(session.run(rows)["p_churn"], session.run(one)["p_churn"])
    assert booster.num_trees() > 0


def test_a_past_of_thousands_of_hours_is_told_to_the_day():
    rows = rows_of(2)
    rows[:, COUNT], rows[:, TENURE] = 50_000, 3_000
    rows[:, RECENCY] = np.random.default_rng(2).uniform(0, 4, len(rows))
    silence = Silence(BgNbd(1.0, 500.0, 0.5, 20.0), 2.0)
    assert np.ptp(silence.predict(rows)) > 0.9
    assert silence_graph(silence, usual(), rows).parity["max difference"] < 1e-6
