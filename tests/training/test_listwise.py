"""The ranker beside the pointwise model: it learns the order, whatever order its rows come in."""

from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from models.card import card_of
from models.report import ALTERNATIVE, Report, read_report
from models.specs.content_preference import SPEC
from pipelines.retrain_commands import report_table
from training import metrics, tested
from training.listwise import sizes_of, xendcg_scores
from training.pointwise import Labelled, Leaves

N_DECISIONS, N_CANDIDATES = 400, 60


def choices(seed=3):
    """One choice a decision, by the first two inputs; the chosen row stands first, as in a log."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((N_DECISIONS, N_CANDIDATES, len(SPEC.inputs)), np.float32)
    rows[..., 0] = 2 * (rng.random(rows.shape[:2]) < 0.05)  # seldom anything, as own interest is
    rows[..., 1] = rng.normal(size=rows.shape[:2])
    worth = rows[..., 0] + rows[..., 1] + rng.gumbel(size=rows.shape[:2])
    rows = np.take_along_axis(rows, np.argsort(-worth, axis=1)[..., None], axis=1)
    y = np.zeros((N_DECISIONS, N_CANDIDATES))
    y[:, 0] = 1.0
    decision = np.repeat(np.arange(N_DECISIONS), N_CANDIDATES)
    people = [f"r{number}" for number in decision]
    is_test = decision >= 300
    data = Labelled(
        rows.reshape(-1, len(SPEC.inputs)),
        y.ravel(),
        people,
        decision,
        is_test,
        np.zeros_like(is_test),
    )
    return data, decision


def ndcg_of(data, decision, score):
    gain, held = data.y[data.is_test], decision[data.is_test]
    mixed = score + 1e-9 * np.random.default_rng(0).random(len(score))
    return np.mean([metrics.ndcg(gain[held == d], mixed[held == d]) for d in np.unique(held)])


def test_the_order_is_learnt_although_the_chosen_stand_first():
    data, decision = choices()
    found = ndcg_of(data, decision, xendcg_scores(SPEC, data, decision, leaves=Leaves(20), seed=7))
    best = ndcg_of(data, decision, data.rows[data.is_test][:, :2].sum(axis=1))
    by_chance = ndcg_of(data, decision, np.zeros(data.is_test.sum()))
    assert found > by_chance + 0.75 * (best - by_chance)


def test_decisions_are_counted_in_their_order():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 6, 50)
    decision = np.repeat(rng.permutation(50), sizes)
    assert np.array_equal(sizes_of(decision), sizes)


@pytest.fixture
def report():
    rng = np.random.default_rng(5)
    spine = pl.DataFrame({"recipient_key": [f"r{n}" for n in range(300)], "at": [0] * 300})
    own = rng.random(300)
    methods = {
        "model": own, "popularity": own - 0.3, f"{ALTERNATIVE}: rank_xendcg": own + 0.1,
    }  # fmt: skip
    found = tested.of_values({"NDCG@10": methods}, spine, score=own)
    return Report(
        model=SPEC.name, as_of="-", test="-", gain_of="NDCG@10", row=found.row,
        baselines=found.baselines, parity={}, alternatives=found.alternatives,
    )  # fmt: skip


def test_an_alternative_is_shown_and_no_baseline_to_be_beaten(report):
    assert [row.method for row in report.baselines] == ["popularity"]
    assert report.not_beaten == []
    assert report.best_baseline.method == "popularity"
    (other,) = report.alternatives
    assert other.gain.high < 0
    assert f"| {other.method} |" in card_of(report)
    candidate = SimpleNamespace(report=report, version=SimpleNamespace(version="1"))
    console = Console(width=120, record=True, file=StringIO())
    console.print(report_table(candidate))
    assert other.method in console.export_text()
    assert report.metrics()["alternative_rank_xendcg.gain"] == pytest.approx(-0.1)


def test_reports_of_before_have_no_alternatives(report):
    assert read_report(report.to_json()) == report
    plain = report.to_json()
    del plain["alternatives"]
    assert read_report(plain) == replace(report, alternatives=[])
