"""Twelve quiet weeks of a simulated world raise no alarm; each planted change raises its own."""

from dataclasses import replace
from functools import cache

import polars as pl
import pytest

from features.events.schema import DAY_US
from features.events.simulator import simulate
from features.events.world_shift import Shift
from features.feast_store import FeastStore
from models.bundle import load_bundle
from models.runtime import Session
from models.specs.send_time import SPEC
from tests.training.monitoring.test_statistics import decisions
from training.dataset import PointInTime
from training.monitoring import arms, exploring, habits, label_health
from training.monitoring.answers import fallback_shares, fallback_signals
from training.monitoring.champions import backtest_fact, watch
from training.monitoring.labelled import population
from training.monitoring.windows import Windows
from training.recipe import Order
from training.recipes import send_time

NOW = 20_400 * DAY_US
WEEK = 7 * DAY_US
WEEKS, PEOPLE = 38, 1_000


@cache
def world(seed=5, shift=None, *, people=PEOPLE, weeks=WEEKS):
    """Events as a log has them; a shift happens at the begin of the last but one week."""
    events = simulate(seed=seed, n_recipients=people, weeks=weeks, ends_at=NOW, shift=shift).events
    filled = events.with_columns(pl.col("value").fill_null(float("nan")))
    return filled.with_row_index("offset", 1).with_columns(pl.col("offset").cast(pl.Int64))


def alarms(events, session, *, until=1):
    """What the signals of a world without decisions say of its last windows, the newest last."""
    known, n = events.lazy(), 12 + until
    windows = Windows(NOW, n=n)
    shares = label_health.shares(known, windows)
    courses = {"taste": habits.taste_course(known, windows)}
    if session is not None:
        courses["rhythm"] = habits.rhythm_course(PointInTime(known.cache(), None), session, windows)
    raised = []
    for last in range(n - until, n):
        some = shares.filter(pl.col("window").is_between(last - 12, last))
        then = Windows(NOW - (n - 1 - last) * WEEK)
        at_last = some.with_columns(pl.col("window") - (last - 12))
        signals = label_health.label_signals(at_last, then)
        signals += [
            habits.habit_signal(name, "", habits.Course(c.values[last - 12 : last + 1], c.error))
            for name, c in courses.items()
        ]
        raised.append({signal.name for signal in signals if signal.is_alarm})
    return raised


@pytest.fixture(scope="module")
def bundles(bundle_folders):
    return {name: load_bundle(folder) for name, folder in bundle_folders.items()}


@pytest.mark.parametrize("seed", [5, 8, *range(100, 106)])
def test_twelve_quiet_windows_raise_no_alarm(seed, bundles):
    session = bundles["send_time"].session if seed == 5 else None  # the rhythm takes longest
    assert alarms(world(seed), session, until=12) == [set()] * 12


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_twelve_quiet_windows_of_decisions_raise_no_alarm(seed):
    made = decisions(seed, n=6_000)
    reached = made.with_columns(delivered=True)
    for ago in range(12):
        windows = Windows(NOW - ago * WEEK, n=13 - ago)
        known = pl.col("at") < windows.as_of
        some = made.filter(known)
        signals = [
            *arms.mismatch_signals(some, reached.filter(known), share=0.05),
            *exploring.draw_signals(some),
            *exploring.floor_signals(some, epsilon=0.05, epsilon_hour=0.05),
            exploring.entropy_signal(some, windows),
            *fallback_signals(fallback_shares(some, windows), windows),
        ]
        assert [signal for signal in signals if signal.is_alarm] == [], ago


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({"tastes": True}, "taste"),
        ({"prefetching": 0.5}, "label health"),
        ({"clock_h": 6}, "rhythm"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_planted_change_raises_its_own_alarm_within_two_windows(change, alarm, bundles):
    changed = world(5, Shift(NOW - 2 * WEEK, **change))
    session = bundles["send_time"].session if alarm == "rhythm" else None
    assert set.union(*alarms(changed, session, until=2)) == {alarm}


@pytest.mark.parametrize("seed", [101, 102])
def test_in_a_log_of_half_a_year_as_well_other_clocks_are_noticed(seed, tmp_path):
    """Its first weeks know little of anybody; what was usual then is not what is usual now."""
    young = {"people": 1_200, "weeks": 26}
    moved, quiet = (world(seed, some, **young) for some in (Shift(NOW - 2 * WEEK, clock_h=6), None))
    feast = FeastStore(tmp_path / "feast", online=tmp_path / "online.sqlite")
    feast.apply()
    as_of, first = NOW - 4 * WEEK, NOW - 26 * WEEK
    known = quiet.filter(pl.col("received_at") < as_of).lazy().cache()
    trained = send_time.train(Order(PointInTime(known, feast), as_of, first))
    session = Session(trained.exported.graph, SPEC)
    assert "rhythm" in alarms(moved, session, until=2)[0]
    assert alarms(quiet, session, until=4) == [set()] * 4


def test_nothing_is_different_before_a_change():
    at = NOW - 2 * WEEK
    asked = {"seed": 3, "n_recipients": 100, "weeks": 6, "ends_at": NOW}
    plain = simulate(**asked).events
    changed = simulate(**asked, shift=Shift(at, tastes=True, prefetching=0.5, clock_h=6)).events
    before = pl.col("occurred_at") < at - 3 * DAY_US
    assert changed.filter(before).equals(plain.filter(before))
    assert not changed.filter(~before).equals(plain.filter(~before))


@pytest.mark.parametrize("name", ["send_time", "churn", "content_preference"])
def test_a_champion_drifts_from_another_world_and_not_from_its_own(name, bundles):
    bundle = bundles[name]
    as_of = NOW - 2 * WEEK
    data = PointInTime(world(5).filter(pl.col("received_at") < NOW).lazy().cache(), None)
    made = population(name, data, bundle.session, at=as_of)
    told = {"reference": made.reference(as_of), "as_of": "2025-10-25 00:00 UTC"}
    own = replace(bundle, manifest=bundle.manifest.model_copy(update=told))
    found = watch(name, ("1", own), data, Windows(NOW))
    (drift,) = (signal for signal in found.signals if signal.name == "drift")
    assert not drift.is_alarm, drift
    assert found.age.days == 14
    bare = watch(name, ("1", bundle), data, Windows(NOW))
    assert "reference" in bare.signals[0].said


def test_the_back_test_tells_how_a_champion_did_or_why_it_cannot(bundles):
    data = PointInTime(world(5).lazy().cache(), None)
    said = backtest_fact(bundles["send_time"], data, as_of=NOW)
    assert "observed" in said
    assert "base rate" in said
    late = bundles["churn"].manifest.model_copy(update={"as_of": "2025-11-08 00:00 UTC"})
    fact = backtest_fact(replace(bundles["churn"], manifest=late), data, as_of=NOW)
    assert fact.startswith("not measured: no label later")
    orders = bundles["content_preference"]
    assert "does not say how likely" in backtest_fact(orders, data, as_of=NOW)
