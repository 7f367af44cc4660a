"""Churn on short logs: a model where the trees have none, measured where there are labels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from features.definitions import AFFINITY
from features.events.log import EventLog
from features.events.schema import DAY_US, Event, EventType
from features.events.simulator import simulate, write_ndjson
from features.feast_store import FeastStore
from features.state import State
from models.bundle import load_bundle
from models.card import card_of
from models.gates import judge
from models.report import read_report
from models.specs.churn import RISKS
from models.verdict import Route
from pipelines.ingest import ingest
from pipelines.retrain import order_for
from serving.asks import Ask, Champions, Loaded
from serving.fallback import FallbackReason as Why
from serving.items import NO_ITEMS
from serving.known import RECIPIENT_LAYOUT, Known
from serving.scorer import predict
from training import churn_trial
from training.errors import LabelsImmatureError, TooFewRowsError
from training.export import export
from training.recipes import churn

NOW = 20_400 * DAY_US


def order_over(folder, *, n_recipients, weeks, **more):
    """What `opportune retrain` trains from, of a simulated log."""
    world = simulate(seed=5, n_recipients=n_recipients, weeks=weeks, ends_at=NOW)
    write_ndjson(world.events, folder / "world.ndjson")
    with EventLog(folder / "events") as log:
        ingest(
            folder / "world.ndjson", log=log, mapping=None, rejects=folder / "rejects",
            received_at=NOW, progress=lambda _: None,
        )  # fmt: skip
        feast = FeastStore(folder / "feast", online=folder / "online.sqlite")
        feast.apply()
        wanted = {"as_of": NOW, "horizon_days": None, **more}
        return order_for(log, feast, seed=7, step=lambda _: None, **wanted)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Six weeks of 150 people, trained and exported."""
    folder = tmp_path_factory.mktemp("short")
    made = churn.train(order_over(folder, n_recipients=150, weeks=6))
    export(made.exported, folder / "bundle", report=made.report, about=made.about)
    return folder / "bundle"


def state_of(*days_ago):
    """Somebody who bought so many days ago."""
    state = State()
    for n, days in enumerate(days_ago):
        at = NOW - round(days * DAY_US)
        bought = Event(f"e{n}", EventType.PURCHASED, "r", at, at)
        state.apply(bought, layout=RECIPIENT_LAYOUT, affinity=AFFINITY, offset=n + 1)
    return state


def silence_of(bundle, *people):
    asks = [Ask(f"r{n}", explain=True) for n in range(len(people))]
    known = Known(people, NO_ITEMS, [Why.NONE] * len(people))
    champions = Champions({"churn": Loaded(load_bundle(bundle, name="churn"), "1")})
    return predict(asks, known, champions, at=NOW)


def test_a_short_log_gets_a_bundle_that_answers_and_falls_with_recent_activity(short):
    found = silence_of(
        short, state_of(40, 39, 38), state_of(40, 39, 20), state_of(40, 39, 1), state_of(40, 2, 1)
    )
    p = [one.p_churn for one in found]
    assert p[0] > p[1] > p[2] >= p[3] - 0.05
    assert 0 < p[2] < p[0] - 0.2
    assert all(one.reasons["churn"] is Why.NONE and one.horizon_days == 14 for one in found)
    for place, usual in enumerate(RISKS.values()):  # too few mails to say more than the trade does
        assert all(usual / 4 < one.risks[place] < usual * 4 for one in found)
    assert {effect.theme.value for one in found for effect in one.effects} <= {
        "engagement", "recency",
    }  # fmt: skip


def test_its_report_says_why_and_gates_refuse_it_in_words(short):
    manifest = json.loads((short / "manifest.json").read_text())
    report = read_report(json.loads((short / "report.json").read_text()))
    assert manifest["trained_rows"] >= 100
    assert "labels need 56" in report.notes[0]
    assert report.notes[1] == "No label has matured; BG/NBD needs none."
    assert report.verdict == "BG/NBD, not measured"
    assert report.in_short == "not measured"
    assert "Nothing was measured" in card_of(report)
    verdict = judge(report, None, Route.NEW_SPEC)
    assert {gate.name for gate in verdict.gates if not gate.passed} == {
        "sample", "baseline", "calibration",
    }  # fmt: skip
    assert any("0 recipients of 2,000" in reason for reason in verdict.reasons)


@pytest.mark.long
def test_where_labels_are_enough_the_best_of_three_serves(tmp_path):
    order = order_over(tmp_path, n_recipients=900, weeks=7)
    made = churn.train(order)
    report = made.report
    loss = {
        row.method: row.measures["log loss"].value
        for row in (report.row, *report.baselines)
        if row.method in churn_trial.CHOICE
    }
    assert set(loss) == set(churn_trial.CHOICE)
    assert loss[report.row.method] == min(loss.values())
    assert {"base rate", "recency"} < {row.method for row in report.baselines}
    assert report.sample.recipients >= churn_trial.MIN_ROWS
    assert made.parameters["method"] == report.row.method
    assert report.calibration is not None
    # What the manifest answers for those who never engaged is the mean over those who did.
    past, cohort = churn_trial.past_of(order, 14.0), churn_trial.cohort_at(order, NOW)[1]
    p = churn_trial.fitted(report.row.method, cohort, past, 14.0).predict(cohort)
    assert p.mean() == pytest.approx(made.about["prior"], abs=1e-5)


def test_nobody_is_foretold_by_their_own_label(tmp_path):
    order = order_over(tmp_path, n_recipients=400, weeks=7)
    past = churn_trial.past_of(order, 14.0)
    assert past.is_test.sum() > 100
    assert (past.spine["at"].max() + 14 * DAY_US) == NOW  # the newest that has matured
    one = int(np.flatnonzero(past.is_test)[0])
    flipped = past.y.copy()
    flipped[one] = 1 - flipped[one]
    before, after = (churn_trial.tried(order, replace(past, y=y), 14.0) for y in (past.y, flipped))
    place = int(past.is_test[:one].sum())
    for method in before:
        assert before[method][place] == after[method][place]
    assert any((before[method] != after[method]).any() for method in before)


@pytest.mark.parametrize(
    ("n_recipients", "weeks", "more", "error", "said"),
    [
        (40, 6, {}, TooFewRowsError, r"people who were ever active, at least 50"),
        (150, 6, {"horizon_days": 60}, LabelsImmatureError, "shorter horizon"),
    ],
)
def test_below_the_minimum_it_is_refused(tmp_path, n_recipients, weeks, more, error, said):
    order = order_over(tmp_path, n_recipients=n_recipients, weeks=weeks, **more)
    with pytest.raises(error, match=f"churn: .*{said}"):
        churn.train(order)


def test_people_who_never_came_back_are_refused(tmp_path):
    with EventLog(tmp_path / "events") as log:
        log.append([
            Event(f"e{n}", EventType.PURCHASED, f"r{n}", at, at)
            for n, at in enumerate(range(NOW - 40 * DAY_US, NOW - 20 * DAY_US, DAY_US // 3))
        ])  # fmt: skip
        feast = FeastStore(tmp_path / "feast", online=tmp_path / "online.sqlite")
        feast.apply()
        order = order_for(log, feast, as_of=NOW, seed=7, horizon_days=None, step=lambda _: None)
        with pytest.raises(TooFewRowsError, match="0 active hours after somebody's first"):
            churn.train(order)
