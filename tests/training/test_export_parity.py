"""Laws of the export: the graph repeats the estimator, or there is no bundle."""

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import onnx
import pytest

from models.bundle import PARITY_LIMIT, load_bundle
from models.errors import ParityError
from models.runtime import ROWS, Session
from models.spec import ModelSpec, Output
from models.specs.send_time import LEVEL
from models.specs.send_time import SPEC as SEND_TIME
from training.calibration import Platt
from training.curve import fit_curve
from training.errors import EstimatorRefusedError
from training.export import PROOF_ROWS, on_thresholds, prove
from training.graphs import trees_graph
from training.rhythm import HOURS_PER_WEEK, Rhythm
from training.send_chain import FLAGS, SendChain, Side
from training.send_graph import send_time_graph
from training.send_link import SendLink, prior_link
from training.spread import Spread
from training.trees import CalibratedTrees, fit_trees, float32_floor, floored

INPUTS = tuple(f"x{i}" for i in range(8))
SPEC = ModelSpec("toy", "recipient", INPUTS, (Output("p", unit="probability"),), 1.0, 0.5, "a toy")


def grid_rows(n: int, seed: int) -> np.ndarray:
    """Values on a coarse grid of neighbouring float32: thresholds fall between or onto them."""
    rng = np.random.default_rng(seed)
    rows = rng.gamma(1.0, 3.0, (n, len(INPUTS))).astype(np.float32)
    rows[:, :3] = np.round(rows[:, :3] * 10) / np.float32(10)
    near = rng.integers(0, 40, (n, 2)).astype(np.int32)
    rows[:, 3:5] = (np.full((n, 2), 1.1, np.float32).view(np.int32) + near).view(np.float32)
    rows[rng.random(rows.shape) < 0.15] = np.nan
    rows[:, 5] = np.where(rng.random(n) < 0.5, 0.0, rows[:, 5])
    return rows


def labels_of(rows: np.ndarray, seed: int) -> np.ndarray:
    known = np.nan_to_num(rows, nan=-1.0).astype(np.float64)
    near = (known[:, 3] - 1.1) * 4e5
    z = 0.4 * known[:, 0] - 0.5 * known[:, 1] + 2.0 * (known[:, 2] == -1) + near + known[:, 5]
    chance = 1 / (1 + np.exp(-(z - z.mean()) / z.std()))
    return (np.random.default_rng(seed).random(len(rows)) < chance).astype(np.float64)


@pytest.fixture(scope="module", params=["trees", "trees added to a curve"])
def trees(request) -> tuple[CalibratedTrees, np.ndarray]:
    rows = grid_rows(6_000, 1)
    y = labels_of(rows, 2)
    start = None
    if request.param != "trees":
        start = fit_curve(range(len(INPUTS)), rows[:4_000], y[:4_000])
    booster = fit_trees(
        (rows[:4_000], y[:4_000]), (rows[4_000:], y[4_000:]), inputs=INPUTS, seed=3, start=start,
        learning_rate=0.1, min_data_in_leaf=20, num_leaves=31, max_bin=4_095,
    )  # fmt: skip
    bent = Platt(1.3, -0.2, (-0.5, 0.7), (0.8, -1.1))
    return CalibratedTrees(booster, bent, INPUTS, start), rows


def native_of(model: CalibratedTrees):
    return lambda part: {"p": model.predict(part).astype(np.float32)[:, None]}


def test_trees_are_repeated_on_10_000_rows_and_on_every_threshold(trees):
    model, rows = trees
    thresholds = model.thresholds()
    assert len(thresholds) > 200
    assert any(column in {3, 4} for column, _ in thresholds)

    exported = prove(SPEC, trees_graph(model, SPEC), native_of(model), rows, thresholds=thresholds)

    assert exported.parity["rows"] == PROOF_ROWS == 10_000
    assert exported.parity["threshold rows"] == 3 * len(thresholds)
    assert exported.parity["max difference"] <= PARITY_LIMIT == 1e-5
    assert exported.parity["on thresholds"] <= PARITY_LIMIT


def test_trees_are_repeated_at_the_ends_of_the_range(trees):
    model, _ = trees
    session = Session(trees_graph(model, SPEC), SPEC)
    big = np.finfo(np.float32).max
    for value in (0.0, -0.0, np.nan, np.inf, -np.inf, big, -big, np.float32(1e-38), -1.0):
        rows = np.full((1, len(INPUTS)), value, np.float32)
        np.testing.assert_allclose(session.run(rows)["p"][:, 0], model.predict(rows), atol=1e-5)


def test_trees_are_repeated_whether_a_row_comes_alone_or_in_company(trees):
    model, rows = trees
    session = Session(trees_graph(model, SPEC), SPEC)
    together = session.run(rows[:64])["p"]
    alone = np.concatenate([session.run(rows[i : i + 1])["p"] for i in range(64)])
    np.testing.assert_array_equal(alone, together)


def test_more_rows_than_are_run_at_once_keep_their_order(trees):
    model, rows = trees
    session = Session(trees_graph(model, SPEC), SPEC)
    for n in (0, 1, ROWS, ROWS + 1, 3 * ROWS + 7):
        answer = session.run(rows[:n])["p"]
        assert answer.shape == (n, 1)
        np.testing.assert_allclose(answer[:, 0], model.predict(rows[:n]), atol=1e-5)


def test_every_split_gets_a_row_on_it_one_below_and_one_above(trees):
    model, rows = trees
    thresholds = model.thresholds()
    edges = on_thresholds(rows, thresholds, np.random.default_rng(0))
    for i, (column, threshold) in enumerate(thresholds):
        on, below, above = edges[3 * i : 3 * i + 3, column]
        assert below < on < above
        # Floored: a float32 itself, or zero where LightGBM reads all between -1e-35 and 1e-35 so.
        assert float(on) == (0.0 if abs(threshold) <= 1.1e-35 else threshold)


def test_a_split_on_being_missing_alone_is_exported_and_proven():
    """LightGBM gives it a threshold beyond float32."""
    rng = np.random.default_rng(8)
    rows = rng.random((2_000, 1)).astype(np.float32)
    rows[:500] = np.nan
    y = np.isnan(rows[:, 0]).astype(float)
    one = ModelSpec("toy", "recipient", ("x",), SPEC.outputs, 1.0, 0.5, "one column")
    booster = fit_trees((rows, y), (rows, y), inputs=one.inputs, seed=1, extra_trees=False)
    model = CalibratedTrees(booster, Platt(), one.inputs)

    thresholds = model.thresholds()
    prove(one, trees_graph(model, one), native_of(model), rows, thresholds=thresholds)
    assert max(threshold for _, threshold in thresholds) > float(np.finfo(np.float32).max)


def unfloored_booster() -> tuple[lgb.Booster, np.ndarray]:
    """One split halfway between two neighbouring float32, nearer to the upper in float32."""
    low = np.float32(1.1)
    values = [low := np.nextafter(low, np.float32(2)) for _ in range(20)]
    rows = np.repeat(np.array(values, np.float32)[:, None], 50, axis=0)
    y = (np.arange(len(rows)) // 50 % 2).astype(float)
    settings = {
        "objective": "binary", "num_leaves": 20, "min_data_in_leaf": 1, "min_data_in_bin": 1,
        "verbosity": -1, "num_threads": 1, "learning_rate": 0.5, "min_sum_hessian_in_leaf": 0.0,
    }  # fmt: skip
    return lgb.train(settings, lgb.Dataset(rows, y), 20), rows


def test_without_flooring_the_proof_fails_and_with_it_holds():
    booster, rows = unfloored_booster()
    one = ModelSpec("toy", "recipient", ("x",), SPEC.outputs, 1.0, 0.5, "one column")
    raw = CalibratedTrees(booster, Platt(), one.inputs)
    with pytest.raises(ParityError, match="not float32"):
        prove(one, trees_graph(raw, one), native_of(raw), rows, thresholds=raw.thresholds())

    sound = CalibratedTrees(floored(booster), Platt(), one.inputs)
    exported = prove(
        one, trees_graph(sound, one), native_of(sound), rows, thresholds=sound.thresholds()
    )
    assert exported.parity["on thresholds"] <= PARITY_LIMIT
    np.testing.assert_array_equal(sound.predict(rows), raw.predict(rows))


def test_flooring_leaves_every_answer_on_float32_rows_as_it_was(trees):
    model, rows = trees
    again = floored(model.booster)
    np.testing.assert_array_equal(again.predict(rows), model.booster.predict(rows))
    for _, threshold in model.thresholds():
        assert float32_floor(threshold) == threshold


@pytest.mark.parametrize("value", [1e300, -1e300, 3.5e38, 1e-300, -1e-300, 0.1, -0.1, 0.0])
def test_the_floor_is_the_largest_float32_not_above(value):
    found = float32_floor(value)
    assert found <= value
    assert float(np.float32(found)) == found
    with np.errstate(over="ignore"):
        above = float(np.nextafter(np.float32(found), np.float32(np.inf)))
    assert above > value or found == value


@pytest.mark.parametrize(
    "setting",
    [{"zero_as_missing": True}, {"linear_tree": True}, {"boosting": "rf"}, {"boosting": "dart"}],
    ids=str,
)
def test_modes_that_convert_wrongly_are_refused(setting):
    rows = grid_rows(100, 1)
    y = labels_of(rows, 1)
    with pytest.raises(EstimatorRefusedError, match=next(iter(setting))):
        fit_trees((rows, y), (rows, y), inputs=INPUTS, seed=1, **setting)


def changed(graph: bytes, change) -> bytes:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in {"class_weights", "target_weights"}:
                change(attribute.floats)
    return model.SerializeToString()


def test_a_graph_with_one_other_leaf_is_refused(trees):
    model, rows = trees
    graph = trees_graph(model, SPEC)
    rng = np.random.default_rng(1)

    def one_leaf(weights) -> None:
        place = int(np.argmax(np.abs(weights)))
        weights[place] += 0.5

    for change in (one_leaf, lambda w: w.__setitem__(int(rng.integers(len(w))), 50.0)):
        spoilt = changed(graph, change)
        assert spoilt != graph
        with pytest.raises(ParityError):
            prove(SPEC, spoilt, native_of(model), rows, thresholds=model.thresholds())


def test_an_estimator_that_answers_no_number_is_refused(trees):
    model, rows = trees

    def holes(part):
        return {"p": np.where(part[:, :1] > 5, np.nan, native_of(model)(part)["p"])}

    with pytest.raises(ParityError):
        prove(SPEC, trees_graph(model, SPEC), holes, rows)


# --- send time --------------------------------------------------------------------------------


def chain(seed: int, *, cohorts: int, basis: str = "engagement") -> SendChain:
    rng = np.random.default_rng(seed)
    weeks = rng.dirichlet(np.full(HOURS_PER_WEEK, 0.7), cohorts) * 0.999 + 0.001 / HOURS_PER_WEEK
    shares = rng.dirichlet(np.ones(cohorts))
    offsets, offset_shares = (-8, 0, 5), rng.dirichlet(np.ones(3))
    rhythm = Rhythm(weeks, shares, 16.0, 60.0, 400.0, offsets, offset_shares)
    sides = []
    for spread in (Spread(1.1, 10.0, -1.0, 1.0), Spread(0.7, 1e6, -2.0, 0.3)):
        half = rng.normal(size=(len(LEVEL) + 2, len(LEVEL) + 2))
        link = SendLink(
            -1.5, 0.4 + rng.random(), rng.normal(size=len(LEVEL)),
            np.full(len(LEVEL), 0.01), "engagement", half @ half.T / 500,
        )  # fmt: skip
        if basis == "activity":
            link = prior_link(SEND_TIME.prior, len(LEVEL))
        sides.append(Side(link, spread))
    return SendChain(rhythm, rng.dirichlet(np.ones(24)), *sides)


def weeks_of(n: int, seed: int) -> np.ndarray:
    """From nobody's week to thousands of active hours, level features from none to many."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((n, len(SEND_TIME.inputs)), np.float32)
    level = np.array([0, 0.3, 3, 30, 300, 5_000])[np.arange(n) % 6] / HOURS_PER_WEEK
    rows[:, :HOURS_PER_WEEK] = rng.poisson(level[:, None], (n, HOURS_PER_WEEK)) * rng.random((n, 1))
    rows[:, HOURS_PER_WEEK:] = rng.gamma(0.5, 2.0, (n, len(SEND_TIME.inputs) - HOURS_PER_WEEK))
    rows[:, FLAGS] = rng.random((n, 2)) < 0.5
    return rows


@pytest.mark.parametrize("cohorts", [1, 12])
@pytest.mark.parametrize("basis", ["engagement", "activity"])
def test_the_send_time_chain_is_repeated(cohorts, basis):
    made = chain(4, cohorts=cohorts, basis=basis)
    graph = send_time_graph(made)

    exported = prove(SEND_TIME, graph, made.answers, weeks_of(2_000, 5))
    assert exported.parity["max difference"] <= PARITY_LIMIT
    activity = Session(graph, SEND_TIME).run(weeks_of(60, 6))["activity"]
    np.testing.assert_allclose(activity.sum(axis=1), 1.0, atol=1e-5)


def doubled(link: SendLink) -> SendLink:
    return replace(link, covariance=2 * link.covariance)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, rhythm=replace(c.rhythm, by_slot=40.0)),
        lambda c: replace(c, rhythm=replace(c.rhythm, offsets=(-8, 0, 6))),
        lambda c: replace(c, aging=np.roll(c.aging, 1)),
        lambda c: replace(c, seen=replace(c.seen, link=doubled(c.seen.link))),
        lambda c: replace(c, hidden=replace(c.hidden, link=doubled(c.hidden.link))),
        lambda c: replace(c, seen=replace(c.seen, spread=Spread(1.1, 30.0, -1.0, 1.0))),
        lambda c: replace(c, seen=c.hidden, hidden=c.seen),
    ],
    ids=["strength", "offset", "aging", "covariance", "hidden", "spread", "sides"],
)
def test_a_send_time_graph_of_another_chain_is_refused(change):
    made = chain(4, cohorts=3)
    with pytest.raises(ParityError):
        prove(SEND_TIME, send_time_graph(change(made)), made.answers, weeks_of(500, 5))


def test_what_was_exported_is_what_is_loaded(bundle_folders):
    for name, folder in bundle_folders.items():
        assert load_bundle(folder, name=name).manifest.libraries["onnxruntime"]


@pytest.mark.parametrize("seed", range(4))
def test_splits_at_zero_are_proven_at_zero_where_features_can_lie(seed):
    """LightGBM splits zero from the rest at 1e-35 and reads what is nearer as zero."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3_000, len(INPUTS))).astype(np.float32)
    rows[rng.random(rows.shape) < 0.5] = 0.0
    y = (rng.random(3_000) < 0.2 + 0.3 * (rows[:, 0] == 0) + 0.3 * (rows[:, 1] < 0)).astype(float)
    booster = fit_trees(
        (rows[:2_000], y[:2_000]), (rows[2_000:], y[2_000:]), inputs=INPUTS, seed=seed,
        min_data_in_leaf=20, learning_rate=0.2, extra_trees=False,
    )  # fmt: skip
    model = CalibratedTrees(booster, Platt(), INPUTS)
    thresholds = model.thresholds()
    assert any(abs(threshold) < 1e-34 for _, threshold in thresholds)

    exported = prove(SPEC, trees_graph(model, SPEC), native_of(model), rows, thresholds=thresholds)

    assert exported.parity["on thresholds"] <= PARITY_LIMIT
