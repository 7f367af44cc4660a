"""A champion whose intercept is fitted anew: the same graph, moved by one constant, judged."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.events.schema import DAY_US
from features.events.simulator import simulate
from models.bundle import GRAPH, load_bundle
from models.gates import judge
from models.runtime import Session
from models.verdict import Route
from training.dataset import PointInTime
from training.errors import TooFewRowsError
from training.export import export
from training.graphs import shifted_chances, shifted_graph
from training.intercept import MOVED, refit_intercept
from training.recipe import Order, Sitting

NOW = 20_400 * DAY_US


@pytest.fixture(scope="module")
def data():
    events = simulate(seed=5, n_recipients=500, weeks=12, ends_at=NOW).events
    filled = events.with_columns(pl.col("value").fill_null(float("nan")))
    numbered = filled.with_row_index("offset", 1).with_columns(pl.col("offset").cast(pl.Int64))
    return PointInTime(numbered.lazy().cache(), None)


def off_by(shift, bundle, folder):
    """A champion whose chances have log odds that are off by a constant."""
    graph = shifted_graph((bundle.folder / GRAPH).read_bytes(), MOVED[bundle.spec.name], by=shift)
    folder.mkdir()
    (folder / GRAPH).write_bytes(graph)
    return replace(bundle, session=Session(graph, bundle.spec), folder=folder)


@pytest.mark.parametrize("name", list(MOVED))
def test_a_graph_can_be_moved_again_and_again_and_all_else_stays(name, bundle_folders):
    bundle = load_bundle(bundle_folders[name])
    rows = np.random.default_rng(1).gamma(1, size=(40, len(bundle.spec.inputs))).astype(np.float32)
    before = bundle.session.run(rows)
    graph = (bundle.folder / GRAPH).read_bytes()
    for by in (0.7, -0.2):
        graph = shifted_graph(graph, MOVED[name], by=by)
    after = Session(graph, bundle.spec).run(rows)
    for output, values in before.items():
        expected = shifted_chances(values, by=0.5) if output in MOVED[name] else values
        np.testing.assert_allclose(after[output], expected, atol=1e-6)
    assert set(MOVED[name]) <= set(before)


def test_the_candidate_follows_the_base_rate_and_the_gates_can_judge_it(
    data, bundle_folders, tmp_path
):
    champion = off_by(1.0, load_bundle(bundle_folders["send_time"]), tmp_path / "off")
    order = Order(data, NOW, NOW - 84 * DAY_US, champion=Sitting("4", champion))
    trained = refit_intercept(order, "send_time")
    report = trained.report
    assert report.champion.method == "champion 4"
    assert report.champion.gain.low > 0
    assert abs(report.calibration.shift.value) < 0.05
    assert report.calibration.observed == pytest.approx(report.calibration.predicted, abs=0.01)
    made = export(trained.exported, tmp_path / "made", report=report, about=trained.about)
    assert made.manifest.as_of == "2025-11-08 00:00 UTC"
    assert made.manifest.label == champion.manifest.label  # so the refresh route is open
    gates = {gate.name: gate for gate in judge(report, report, Route.REFRESH).gates}
    assert gates["parity"].passed
    assert gates["champion"].passed
    assert gates["decisions"].passed
    assert gates["spread"].passed
    assert report.decisions.otherwise.value == 0.0  # a constant moves no hour


def test_calibrations_of_a_manifest_move_along(data, bundle_folders):
    champion = load_bundle(bundle_folders["churn"])
    fitted = {"slope": 0.9, "intercept": -0.1, "knots": (), "bends": ()}
    told = {"exported": fitted, "measured": fitted | {"intercept": 0.0}}
    manifest = type(champion.manifest).model_validate(
        champion.manifest.model_dump() | {"calibrations": told, "horizon_days": 14.0}
    )
    sitting = Sitting("1", replace(champion, manifest=manifest))
    trained = refit_intercept(Order(data, NOW, NOW - 84 * DAY_US, champion=sitting), "churn")
    moved = trained.about["calibrations"]
    by = trained.parameters["intercept"]
    assert moved["exported"].intercept == pytest.approx(-0.1 + by, abs=1e-4)
    assert moved["measured"].intercept == -0.1
    told = trained.report.decisions
    assert told.what == "band of risk"
    assert (told.otherwise.value > 0) == (abs(by) > 0.01)


def test_without_a_champion_or_labels_there_is_nothing_to_fit(data, bundle_folders):
    order = Order(data, NOW, NOW - 84 * DAY_US)
    with pytest.raises(TooFewRowsError, match="champions"):
        refit_intercept(order, "churn")
    champion = load_bundle(bundle_folders["churn"])
    late = champion.manifest.model_copy(update={"as_of": "2025-11-08 00:00 UTC"})
    sitting = Sitting("1", replace(champion, manifest=late))
    with pytest.raises(TooFewRowsError, match="no label later"):
        refit_intercept(replace(order, champion=sitting), "churn")
