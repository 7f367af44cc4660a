"""Gates on numbers that are skewed, missing or none, on changed decisions and on slow graphs."""

from dataclasses import replace
from itertools import permutations
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import load_bundle
from models.gates import failing_slices, judge
from models.report import Measured, Row, Slice
from models.speed import Speed, speed_of
from models.verdict import Limits, Route
from tests.models.test_gates import FEW, PARITY, sound

NONE = Measured(nan, nan, nan)


def missed(report, *, champion=True, route=Route.REFRESH, speed=None):
    verdict = judge(report, sound() if champion else None, route, speed=speed)
    return [gate.name for gate in verdict.gates if not gate.passed]


# --- bounds -----------------------------------------------------------------------------------


@given(st.floats(-0.05, 0.05), st.floats(0, 0.05), st.floats(0, 0.05), st.sampled_from(list(Route)))
def test_a_gate_calls_a_baseline_beaten_just_where_the_report_does(value, below, above, route):
    """Bootstrap intervals are skewed: +0.0167 [-0.0015, +0.0315] is not surely better."""
    gain = Measured(value, value - below, value + above)
    report = replace(sound(), baselines=[Row("recency", sound().row.measures, gain)])
    assert ("baseline" in missed(report, champion=False, route=route)) != (not report.not_beaten)


def test_a_refresh_is_held_by_the_side_of_the_interval_that_looks_down():
    measures = sound().row.measures

    def refused(low, high):
        row = Row("champion 1", measures, Measured(-0.0005, low, high))
        return "champion" in missed(replace(sound(), champion=row))

    assert refused(-0.0040, 0.0)  # half a percent of 0.5 may be lost
    assert not refused(-0.0025, 0.02)


def test_a_slice_fails_by_the_side_of_its_interval_that_looks_up():
    def failed(high):
        gain = Measured(-0.02, -0.06, high)
        part = Slice("country", "DE", 900, 900, Measured(0.5, 0.4, 0.6), None, over_champion=gain)
        return bool(failing_slices(replace(sound(), slices=[part])))

    assert failed(-0.015)
    assert not failed(0.0)


# --- no numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max difference", "on thresholds"])
@pytest.mark.parametrize("value", [nan, inf, None, 2e-5])
def test_a_proof_that_is_missing_or_no_number_is_no_proof(name, value):
    parity = {key: was for key, was in PARITY.items() if key != name}
    if value is not None:
        parity = {name: value} | parity, parity | {name: value}
    for order in parity if isinstance(parity, tuple) else (parity,):
        assert missed(replace(sound(), parity=order)) == ["parity"]


def test_what_is_no_number_passes_no_gate():
    row, part = sound().row, Slice("country", "DE", 900, 900, Measured(0.5, 0.4, 0.6), None, NONE)
    told = sound().calibration
    one_end = replace(told, shift=Measured(0.01, -0.05, nan))
    for report, gate in (
        (replace(sound(), champion=replace(row, gain=NONE)), "champion"),
        (replace(sound(), champion=replace(row, gain=Measured(0, 0, 0), measures={})), "champion"),
        (replace(sound(), slices=[part]), "slices"),
        (replace(sound(), row=replace(row, measures={})), "calibration"),
        (replace(sound(), row=replace(row, measures=row.measures | {"ECE": NONE})),
         "calibration error"),
        (replace(sound(), calibration=one_end), "calibration in the large"),
        (replace(sound(), decisions=replace(FEW, otherwise=NONE)), "decisions"),
        (replace(sound(), decisions=None), "decisions"),
        (replace(sound(), decisions=replace(FEW, entropy=nan)), "spread"),
    ):  # fmt: skip
        assert missed(report) == [gate]
    assert missed(sound(), speed=Speed(nan)) == ["latency"]


def test_a_baseline_without_a_number_hides_behind_no_other():
    gains = {"recency": Measured(0.1, 0.09, 0.11), "base rate": NONE, "rfm": Measured(0.2, 0, 0.3)}
    rows = [Row(name, sound().row.measures, gain) for name, gain in gains.items()]
    for some in permutations(rows):
        report = replace(sound(), baselines=list(some))
        assert report.best_baseline.method == "base rate"
        assert missed(report, champion=False, route=Route.NEW_SPEC) == ["baseline"]


# --- one test, used again ----------------------------------------------------------------------


def test_candidates_drawn_until_one_passes_err_twice_as_often_at_most():
    """Equal models, five on one test: by the bound of one of them a tenth would get through."""
    rng, n = np.random.default_rng(5), 4_000

    def ever(tries_of):
        shared, passed = rng.normal(0, 1, n), 0
        for test in shared:
            for place in range(5):
                value = 1e-3 * (0.3 * test + rng.normal(0, 0.95))
                gain = Measured(value, value - 1.96e-3, value + 1.96e-3)
                row = Row("champion 1", sound().row.measures, gain)
                if _champion(replace(sound(), champion=row), tries_of(place)).passed:
                    passed += 1
                    break
        return passed / n

    def _champion(report, tries):
        gates = judge(report, sound(), Route.NEW_SPEC, tries=tries).gates
        return next(gate for gate in gates if gate.name == "champion")

    assert ever(lambda place: place + 1) <= 0.05
    assert ever(lambda _: 1) > 0.08


def test_the_sixth_candidate_of_a_day_waits_for_newer_events():
    for tries, passed in ((5, True), (6, False)):
        verdict = judge(sound(champion=0.1), sound(), Route.NEW_SPEC, tries=tries)
        assert verdict.passed == passed
    assert "newer events" in verdict.reasons[0]


# --- decisions and speed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "otherwise", "passes"),
    [
        (Route.REFRESH, 0.15, True),
        (Route.REFRESH, 0.1501, False),
        (Route.NEW_SPEC, 0.30, True),
        (Route.NEW_SPEC, 0.31, False),
    ],
)
def test_many_changed_decisions_wait_for_a_person(route, otherwise, passes):
    share = Measured(otherwise, otherwise - 0.01, otherwise + 0.01)
    report = replace(sound(champion=0.02), decisions=replace(FEW, otherwise=share))
    assert missed(report, route=route) == ([] if passes else ["decisions"])


def test_hours_that_crowd_together_wait_for_a_person():
    """Everybody at nine is a promise to no provider and no reader."""
    for entropy, found in ((2.33, []), (2.31, ["spread"])):
        crowded = replace(FEW, entropy=entropy, champion_entropy=2.9)
        assert missed(replace(sound(), decisions=crowded)) == found


def test_without_a_champion_nothing_is_decided_otherwise():
    assert missed(replace(sound(), champion=None, decisions=None), champion=False) == []


@pytest.mark.parametrize(
    ("speed", "passes"),
    [
        (Speed(149.0, 10.0), True),  # nobody notices
        (Speed(151.0, 10.0), False),
        (Speed(390.0, 200.0), True),
        (Speed(410.0, 200.0), False),
        (Speed(990.0), True),
        (Speed(1_010.0), False),
        (Speed(1_010.0, 900.0), False),
    ],
)
def test_a_graph_may_take_twice_the_champions_time_and_never_a_millisecond(speed, passes):
    assert missed(sound(), speed=speed) == ([] if passes else ["latency"])


def test_both_graphs_are_timed_in_turns(bundle_folders):
    bundle = load_bundle(bundle_folders["churn"])
    found = speed_of(bundle, bundle)
    assert 0 < found.row_us < 10_000
    assert 0.3 < found.row_us / found.champion_us < 3.0  # the same graph
    assert speed_of(bundle).champion_us is None
    assert Limits().row_us == 1_000
