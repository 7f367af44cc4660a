"""Gates: what is refused, what passes, and how often they err."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from lightgbm import LGBMClassifier
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.calibration import CalibratedClassifierCV

from models.card import card_of
from models.gates import failing_slices, judge
from models.report import Calibration, Decisions, Measured, Report, Row, Sample, Slice, read_report
from models.speed import Speed
from models.verdict import Limits, Route
from training import clusters, comparison, metrics, slices
from training.baselines import base_rate
from training.decided import of_bands

PARITY = {"rows": 10_000.0, "max difference": 2e-7, "on thresholds": 1e-7}
FEW = Decisions("band of risk", 5_000, Measured(0.06, 0.05, 0.07))
SOUND = Calibration(0.3, 0.3, Measured(0.01, -0.05, 0.07), Measured(1.0, 0.95, 1.05))


def measured(column, people):
    return clusters.means(column[:, None], people)[0]


def report_of(y, methods, families=None, people=None):
    """A report as the recipes make it, with intervals in closed form: hundreds are made."""
    people = np.arange(len(y)) if people is None else people
    losses = {name: metrics.log_losses(y, p) for name, p in methods.items()}
    first, *others = methods
    own, p = losses[first], methods[first]
    rows = {
        name: Row(
            name, {"log loss": measured(loss, people), "ECE": Measured(0.01, 0.005, 0.015)},
            None if name == first else measured(loss - own, people),
        )
        for name, loss in losses.items()
    }  # fmt: skip
    baselines = [rows[name] for name in others if not name.startswith("champion")]
    champion = next((rows[name] for name in others if name.startswith("champion")), None)
    best = min(baselines, key=lambda row: row.gain.value).method
    columns = {"value": own, "gain": losses[best] - own}
    if champion is not None:
        columns["over_champion"] = losses[champion.method] - own
    keys = [str(key) for key in people]
    return Report(
        model="churn", as_of="2025-11-08 00:00 UTC", test="made up", gain_of="log loss",
        row=rows[first], baselines=baselines, parity=PARITY, champion=champion,
        calibration=clusters.calibration(y, p, keys),
        sample=Sample(len(set(keys)), int(y.sum()), int((1 - y).sum())),
        slices=slices.measured(families or {}, np.array(keys), columns, (y, p)),
        decisions=None if champion is None else of_bands(p, methods[champion.method], keys),
    )  # fmt: skip


def world(seed, n=4_000):
    """Truth in log odds and what happened."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.8, 1.3, n)
    return rng, z, (rng.random(n) < chance(z)).astype(float)


def chance(z):
    return 1 / (1 + np.exp(-z))


def sound(champion=0.0, baseline=0.05):
    """A report that passes every gate but as its gains say."""

    def row(method, gain):
        one = {"log loss": Measured(0.5, 0.48, 0.52), "ECE": Measured(0.01, 0.005, 0.015)}
        return Row(method, one, None if gain is None else Measured(gain, gain - 2e-3, gain + 2e-3))

    return Report(
        model="churn", as_of="2025-11-08 00:00 UTC", test="t", gain_of="log loss",
        row=row("model", None), baselines=[row("recency", baseline)], parity=PARITY,
        champion=row("champion 1", champion), calibration=SOUND,
        sample=Sample(5_000, 1_500, 3_500), decisions=FEW,
    )  # fmt: skip


# --- routes -----------------------------------------------------------------------------------


def test_an_equal_challenger_passes_as_a_refresh_and_is_refused_as_a_new_spec():
    report = sound(champion=0.0)
    assert judge(report, report, Route.REFRESH).passed
    verdict = judge(report, report, Route.NEW_SPEC)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("champion: gain over champion 1 +0.0000")


@pytest.mark.parametrize("route", Route)
def test_a_better_one_passes_and_a_worse_one_does_not_on_either_route(route):
    assert judge(sound(champion=0.02), sound(), route).passed
    assert not judge(sound(champion=-0.02), sound(), route).passed


def test_a_model_no_better_than_its_baseline_is_refused():
    _, z, y = world(1)
    same = {"model": chance(z), "recency": chance(z), "base rate": base_rate(y, len(y))}
    verdict = judge(report_of(y, same), None, Route.NEW_SPEC)
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["baseline"]
    better = same | {"recency": chance(0.6 * z - 0.3)}
    assert judge(report_of(y, better), None, Route.NEW_SPEC).passed


def test_a_champion_that_was_not_measured_on_the_same_rows_is_no_measure():
    report = replace(sound(), champion=None)
    for route in Route:
        (reason,) = judge(report, sound(), route).reasons
        assert "retrain while it is champion" in reason
    assert judge(report, None, Route.NEW_SPEC).passed


def test_each_gate_refuses_alone():
    broken = {
        "sample": replace(sound(), sample=Sample(1_999, 900, 900)),
        "calibration in the large": replace(sound(), calibration=replace(
            SOUND, shift=Measured(0.11, 0.05, 0.17))),
        "calibration slope": replace(sound(), calibration=replace(
            SOUND, slope=Measured(1.2, 1.1, 1.3))),
        "calibration error": replace(sound(), row=Row("model", sound().row.measures | {
            "ECE": Measured(0.05, 0.04, 0.06)})),
        "slices": replace(sound(), slices=[Slice(
            "country", "DE", 600, 600, Measured(0.5, 0.4, 0.6), None,
            over_champion=Measured(-0.05, -0.06, -0.04))]),
        "parity": replace(sound(), parity=PARITY | {"max difference": 2e-5}),
        "decisions": replace(sound(), decisions=replace(FEW, otherwise=Measured(0.16, 0.1, 0.2))),
        "spread": replace(sound(), decisions=replace(FEW, entropy=2.3, champion_entropy=2.9)),
    }  # fmt: skip
    assert judge(sound(), sound(), Route.REFRESH).passed
    for name, report in broken.items():
        gates = judge(report, sound(), Route.REFRESH).gates
        assert [gate.name for gate in gates if not gate.passed] == [name]
    few = replace(sound(), sample=Sample(5_000, 199, 4_801))
    assert judge(few, sound(), Route.REFRESH).reasons[0].startswith("sample")


def test_ranks_and_rhythms_are_not_asked_for_calibration_and_have_margins_of_their_own():
    one = {"NDCG@10": Measured(0.4, 0.38, 0.42)}
    row = Row("champion 1", one, Measured(-0.001, -0.002, 0.0))
    report = replace(
        sound(), gain_of="NDCG@10", row=Row("model", one), champion=row, calibration=None,
        sample=Sample(5_000),
    )  # fmt: skip
    assert judge(report, report, Route.REFRESH).passed
    worse = replace(report, champion=replace(row, gain=Measured(-0.004, -0.005, -0.003)))
    assert not judge(worse, report, Route.REFRESH).passed


def test_an_old_report_without_these_numbers_reads_and_is_refused_with_a_remedy():
    told = sound().to_json()
    for name in ("champion", "calibration", "sample", "slices", "decisions"):
        del told[name]
    old = read_report(told)
    assert (old.slices, old.champion, old.sample) == ([], None, None)
    reasons = judge(old, None, Route.NEW_SPEC).reasons
    assert [reason.split(":")[0] for reason in reasons] == ["sample", "calibration"]
    assert all("retrain" in reason for reason in reasons)
    assert "## For whom worse" not in card_of(old)


def test_a_report_with_slices_reads_back_as_it_was():
    _, z, y = world(2)
    parts = {"zone": np.where(z > 0, "known", "unknown").astype(object)}
    methods = {"model": chance(z), "base rate": base_rate(y, len(y)), "champion 3": chance(z)}
    report = report_of(y, methods, parts)
    assert read_report(report.to_json()) == report


# --- how often they err -----------------------------------------------------------------------


def verdicts(route, *, noise, n=4_000, times=200):
    """Verdicts on challengers whose log odds are the champion's with other noise."""
    passed = 0
    for seed in range(times):
        rng, z, y = world(seed, n)
        champion = chance(z + rng.normal(0, 0.25, n))
        challenger = chance(z + rng.normal(0, noise, n))
        methods = {"model": challenger, "base rate": base_rate(y, n), "champion 1": champion}
        report = report_of(y, methods)
        passed += judge(report, report, route).passed
    return passed / times


def test_an_equal_challenger_is_promoted_as_a_new_spec_in_at_most_one_of_twenty():
    assert verdicts(Route.NEW_SPEC, noise=0.25) <= 0.05


def test_an_equal_challenger_passes_most_times_as_a_refresh():
    assert verdicts(Route.REFRESH, noise=0.25, n=12_000, times=60) >= 0.5


@pytest.mark.parametrize("route", Route)
def test_a_much_worse_challenger_never_passes(route):
    assert verdicts(route, noise=1.2) == 0.0


def test_a_challenger_at_the_margin_passes_as_a_refresh_in_at_most_one_of_twenty():
    """Worse by just what a refresh may cost: the border of the hypothesis."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(1_000):
        gain = rng.normal(-0.005 * 0.5, 1e-3)
        row = Row("champion 1", {"log loss": Measured(0.5, 0.5, 0.5)},
                  Measured(gain, gain - 1.96e-3, gain + 1.96e-3))  # fmt: skip
        passed += judge(replace(sound(), champion=row), sound(), Route.REFRESH).passed
    assert 0.03 <= passed / 1_000 <= 0.07


# --- calibration ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrongly_converted():
    """A calibrated classifier over LightGBM, exported as its documentation says."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(9_000, 6)).astype(np.float32)
    z = rows @ np.array([0.9, -0.7, 0.5, 0.0, 0.3, 0.0]) + 0.4 * rows[:, 0] * rows[:, 1]
    y = (rng.random(9_000) < chance(z)).astype(float)
    update_registered_converter(
        LGBMClassifier, "LightGbmLGBMClassifier", calculate_linear_classifier_output_shapes,
        convert_lightgbm, options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )  # fmt: skip
    trees = LGBMClassifier(n_estimators=60, num_leaves=7, verbosity=-1, n_jobs=1, random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CalibratedClassifierCV(trees, cv=3, method="sigmoid").fit(rows[:5_000], y[:5_000])
        graph = convert_sklearn(
            model, initial_types=[("X", FloatTensorType([None, 6]))],
            options={id(model): {"zipmap": False}}, target_opset={"": 15, "ai.onnx.ml": 3},
        )  # fmt: skip
        native = model.predict_proba(rows[5_000:])[:, 1]
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    exported = session.run(None, {"X": rows[5_000:]})[1][:, 1].astype(np.float64)
    return y[5_000:], native, exported


def test_wrong_probabilities_with_intact_ranks_pass_auc_and_not_the_gate(wrongly_converted):
    y, native, exported = wrongly_converted
    assert exported.mean() - native.mean() > 0.1  # converted without a word
    assert abs(metrics.auc(y, exported) - metrics.auc(y, native)) < 0.005
    base = {"base rate": base_rate(y, len(y))}
    right = judge(report_of(y, {"model": native, **base}), None, Route.NEW_SPEC)
    assert right.passed, right.reasons
    wrong = judge(report_of(y, {"model": exported, **base}), None, Route.NEW_SPEC)
    assert any(reason.startswith("calibration in the large") for reason in wrong.reasons)


def test_the_recipes_own_table_shows_what_auc_does_not(wrongly_converted):
    y, native, exported = wrongly_converted
    people = [str(i) for i in range(len(y))]
    row, (other,) = comparison.of_probabilities(
        y[:1_500], {"graph": exported[:1_500], "native": native[:1_500]}, people[:1_500]
    )
    assert row.measures["ECE"].value > 0.1 > other.measures["ECE"].value
    assert not other.is_beaten


# --- slices -----------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", ["flipped", "noised"])
@pytest.mark.parametrize("champion", [False, True])
def test_a_slice_whose_labels_are_not_what_the_model_learnt_is_found(planted, champion):
    rng, z, y = world(3, 12_000)
    is_bad = rng.random(len(y)) < 0.12
    truth = -z if planted == "flipped" else np.zeros(len(y))
    y = np.where(is_bad, rng.random(len(y)) < chance(truth), y).astype(float)
    methods = {"model": chance(z), "base rate": base_rate(y, len(y))}
    if champion:
        methods["champion 1"] = np.where(is_bad, chance(truth), chance(z + rng.normal(0, 0.5)))
    others = np.array([f"C{i}" for i in rng.integers(0, 10, len(y))], object)
    parts = {"mailbox": np.where(is_bad, "bad", "good").astype(object), "country": others}
    report = report_of(y, methods, parts)
    failed = failing_slices(report)
    found = [(part.family, part.name) for part, _ in failed]
    assert found[0] == ("mailbox", "bad")  # countries hold a tenth of it and may show it too
    assert ("mailbox", "good") not in found
    verdict = judge(report, report if champion else None, Route.NEW_SPEC)
    assert any("slices: surely worse: mailbox bad" in reason for reason in verdict.reasons)
    assert "* mailbox bad: worse by" in card_of(report)
    assert "mailbox: bad" in card_of(report).split("## For whom worse")[1].split("|")[0] or champion


def test_an_equal_model_fails_some_slice_in_at_most_one_of_twenty():
    """At the border: every one of twelve slices is worse by just what is allowed."""
    rng = np.random.default_rng(6)
    refused = 0
    for _ in range(600):
        gains = rng.normal(-0.02 * 0.5, 2e-3, 12)
        parts = [
            Slice("country", str(i), 900, 900, Measured(0.5 - g, 0.4, 0.6), None,
                  over_champion=Measured(g, g - 3.92e-3, g + 3.92e-3))
            for i, g in enumerate(gains)
        ]  # fmt: skip
        refused += bool(failing_slices(replace(sound(), slices=parts)))
    assert 0.02 <= refused / 600 <= 0.07


def test_small_slices_are_shown_and_not_judged():
    terrible = Measured(-0.5, -0.6, -0.4)
    few = Slice("country", "DE", 499, 499, Measured(0.9, 0.8, 1.0), None, over_champion=terrible)
    none = Slice("country", "FR", 12, 9)
    report = replace(sound(), slices=[few, none])
    assert judge(report, report, Route.REFRESH).passed
    assert "too small to say" in card_of(report)


def test_every_gate_and_its_default_is_documented():
    page = (Path(__file__).parents[2] / "docs/models.md").read_text()
    table = page.split("| gate | asks | default |")[1].split("\n\n")[0]
    hours = replace(sound(), decisions=replace(FEW, entropy=2.8, champion_entropy=2.9))
    every = judge(hours, sound(), Route.NEW_SPEC, speed=Speed(20.0)).gates
    assert len(every) == 12
    rows = dict(line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:])
    assert set(rows) == {f"`{gate.name}`" for gate in every}
    limits = Limits()
    told = {
        "sample": (f"{limits.min_recipients:,}", limits.min_of_a_class),
        "tries": (limits.max_tries,),
        "champion": (f"{limits.refresh_share:.1%}".replace("%", " %"), limits.refresh_margin),
        "baseline": (f"{limits.baseline_margin:g}",),
        "calibration in the large": (limits.max_shift, limits.max_shift_reach),
        "calibration slope": (limits.slope_low, limits.slope_high),
        "calibration error": (limits.max_ece,),
        "slices": (f"{limits.slice_share:.0%}".replace("%", " %"), limits.slice_margin,
                   limits.slice_recipients),
        "decisions": (f"{limits.refresh_otherwise:.0%}".replace("%", " %"),
                      f"{limits.spec_otherwise:.0%}".replace("%", " %")),
        "spread": (f"{limits.entropy_share:.0%}".replace("%", " %"),),
        "parity": ("1e-5",),
        "latency": (f"{limits.row_us:,.0f}", f"{limits.row_share:g}", f"{limits.row_free_us:g}"),
    }  # fmt: skip
    assert {f"`{name}`" for name in told} == set(rows)
    for name, values in told.items():
        assert all(str(value) in rows[f"`{name}`"] for value in values), name
    assert limits.parity == 1e-5


# --- the card ---------------------------------------------------------------------------------


def test_the_card_says_by_how_much_a_baseline_is_missed_and_how_many_people_would_show_it():
    gain = Measured(0.001, -0.001, 0.003)  # two standard errors would be one: 3.8 times as many
    report = replace(sound(), baselines=[Row("recency", sound().row.measures, gain)])
    told = card_of(report)
    assert told.startswith(report.verdict + "\n")
    assert "recency is not beaten" in told
    assert "is 0.0010 short" in told
    assert "4 times the recipients" in told
    assert "Every baseline is beaten" in card_of(sound())


def test_a_name_from_the_log_cannot_break_the_cards_table():
    parts = [Slice("country", "a|b", 900, 900, Measured(0.5, 0.4, 0.6), Measured(0.1, 0.0, 0.2))]
    rows = [line for line in card_of(replace(sound(), slices=parts)).split("\n") if "a/b" in line]
    assert rows
    assert rows[0].count("|") == 6
