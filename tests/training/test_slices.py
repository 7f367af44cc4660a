"""Slices: what was known at the moment, intervals over people, worst first, small ones unjudged."""

import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from features.definitions.recipient import VIEW
from features.events.log import EventLog
from features.events.schema import DAY_US, Actor, Event, EventType
from features.feast_store import FeastStore
from training import clusters, metrics, slices, tested
from training.dataset import PointInTime
from training.traits import COUNTED, EVIDENCE, LARGEST, NOT_TOLD, OTHER, traits_of

T0 = 1_700_000_000_000_000
NOW = T0 + 100 * DAY_US


def event(name, kind, who, day, **more):
    at = T0 + round(day * DAY_US)
    return Event(name, kind, who, at, more.pop("received_at", at), **more)


@pytest.fixture
def told(tmp_path):
    """What traits say of people, given their events; `at` is day 100."""

    def ask(events, keys, score=None, at=NOW):
        with EventLog(tmp_path / f"log{len(list(tmp_path.iterdir()))}") as log:
            log.append(events)
            data = PointInTime(log.scan(), FeastStore(tmp_path / "feast", online=tmp_path / "o"))
            spine = pl.DataFrame({"recipient_key": keys, "at": [at] * len(keys)})
            return {family: list(names) for family, names in traits_of(data, spine, score).items()}

    return ask


def test_each_trait_is_read_from_what_the_person_did(told):
    machine = {"actor": Actor.MACHINE}
    found = told(
        [
            event("1", EventType.CLICKED, "new", 90),
            event("2", EventType.OPENED, "old", 10, **machine),
            event("3", EventType.CLICKED, "old", 20, utc_offset_min=60),
            *(event(f"h{i}", EventType.CLICKED, "lively", 30 + i) for i in range(40)),
            event("4", EventType.PROFILE_UPDATED, "new", 91,
                  properties={"country": "DE", "mailbox": "gmail"}),
        ],
        ["new", "old", "lively", "nobody"],
    )  # fmt: skip
    assert found == {
        "machine open": ["none seen", "seen", "none seen", "none seen"],
        "time zone": ["unknown", "known", "unknown", "unknown"],
        "tenure": ["under 30 days", "older", "older", NOT_TOLD],
        "active hours": [EVIDENCE[0], EVIDENCE[0], EVIDENCE[3], EVIDENCE[0]],
        "mailbox": ["gmail", NOT_TOLD, NOT_TOLD, NOT_TOLD],
        "country": ["DE", NOT_TOLD, NOT_TOLD, NOT_TOLD],
    }


def test_nothing_known_later_than_the_moment_changes_a_trait(told):
    before = [
        event("a", EventType.CLICKED, "ann", 50),
        event("b", EventType.PROFILE_UPDATED, "ann", 51, properties={"country": "FR"}),
        event("c", EventType.CLICKED, "bob", 80, utc_offset_min=0),
    ]
    later = [
        event("d", EventType.OPENED, "ann", 100, actor=Actor.MACHINE, utc_offset_min=60,
              properties={"country": "DE", "mailbox": "gmail"}),
        event("e", EventType.CLICKED, "ann", 99, received_at=NOW, utc_offset_min=60,
              properties={"country": "IT"}),
        *(event(f"l{i}", EventType.CLICKED, "bob", 101 + i) for i in range(20)),
    ]  # fmt: skip
    keys = ["ann", "bob"]
    assert told([*before, *later], keys) == told(before, keys)
    assert told([*before, *later], keys, at=NOW + 200 * DAY_US) != told(before, keys)


def test_the_newest_word_counts_whenever_it_was_learnt(told):
    words = [
        event("a", EventType.PROFILE_UPDATED, "ann", 60, properties={"country": "DE"}),
        event("b", EventType.PROFILE_UPDATED, "ann", 10, received_at=T0 + 70 * DAY_US,
              properties={"country": "FR"}),
        event("c", EventType.CLICKED, "bob", 5),
    ]  # fmt: skip
    assert told(words, ["ann", "bob"])["country"] == ["DE", NOT_TOLD]


def test_only_the_largest_countries_have_a_name(told):
    keys, events = [], []
    for n in range(LARGEST + 3):
        for i in range(LARGEST + 4 - n):
            keys.append(f"r{n}-{i}")
            events.append(
                event(keys[-1], EventType.CLICKED, keys[-1], 1, properties={"country": f"C{n:02}"})
            )
    names = told(events, keys)["country"]
    assert set(names) == {f"C{n:02}" for n in range(LARGEST)} | {OTHER}
    assert names.count(OTHER) == 4 + 3 + 2


def test_the_top_decile_is_a_tenth_and_a_family_of_one_slice_is_none(told):
    keys = [f"r{i}" for i in range(100)]
    events = [event(key, EventType.CLICKED, key, 1) for key in keys]
    found = told(events, keys, score=np.random.default_rng(0).random(100))
    assert set(found) == {"score"}
    assert found["score"].count("top decile") == 10


def test_features_without_the_join_are_those_with_it(tmp_path):
    with EventLog(tmp_path / "log") as log:
        log.append([
            event(f"{who} {i}", EventType.CLICKED, who, i % 97) for who in "abc" for i in range(60)
        ])  # fmt: skip
        feast = FeastStore(tmp_path / "feast", online=tmp_path / "online.sqlite")
        feast.apply()
        data = PointInTime(log.scan(), feast)
        spine = pl.DataFrame(
            {"recipient_key": ["c", "a", "c", "x"], "at": [NOW, NOW, NOW, NOW - 50 * DAY_US]}
        )
        np.testing.assert_array_equal(
            data.recipients_at(spine, COUNTED), data.recipient(spine, COUNTED)
        )
    assert set(COUNTED) <= set(VIEW.names)


# --- intervals --------------------------------------------------------------------------------


def test_an_interval_over_people_holds_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    groups = np.arange(60).repeat(5)
    hits = 0
    for _ in range(400):
        values = rng.normal(size=60).repeat(5) + rng.normal(size=300)
        found = clusters.means(values[:, None], groups)[0]
        hits += found.low <= 0.0 <= found.high
    assert 370 <= hits <= 390  # rows taken for people would give about 270


def test_the_closed_form_is_the_bootstraps_interval():
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 500, 3_000)
    values = rng.normal(size=500)[groups] + rng.normal(size=3_000)
    ours = clusters.means(values[:, None], groups)[0]
    theirs = metrics.mean_by_group(values[:, None], [str(g) for g in groups], draws=2_000)[0]
    assert ours.value == pytest.approx(theirs.value)
    assert ours.se == pytest.approx(theirs.se, rel=0.06)


def test_calibration_is_logistic_regression_on_the_log_odds():
    rng = np.random.default_rng(3)
    z = rng.normal(-1, 1.5, 20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-(0.4 + 0.7 * z)))).astype(float)
    people = [f"r{i}" for i in range(20_000)]
    found = clusters.calibration(y, 1 / (1 + np.exp(-z)), people)
    theirs = LogisticRegression(C=np.inf).fit(z[:, None], y)
    assert found.slope.value == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
    assert found.slope.low < 0.7 < found.slope.high
    shifted = 1 / (1 + np.exp(-(z + found.shift.value)))
    assert shifted.mean() == pytest.approx(y.mean(), abs=1e-5)


@given(st.integers(0, 1_000), st.floats(-3, 3))
def test_calibration_finds_the_shift_that_was_put_in(seed, shift):
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 3, 4_000)
    y = (rng.random(4_000) < p).astype(float)
    moved = 1 / (1 + np.exp(-(np.log(p / (1 - p)) - shift)))
    found = clusters.calibration(y, moved, [str(i) for i in range(4_000)])
    assert found.shift.value == pytest.approx(shift, abs=0.25)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_calibration_of_one_class_is_finite(only):
    found = clusters.calibration(np.full(50, only), np.full(50, 0.4), [str(i) for i in range(50)])
    assert np.isfinite([found.shift.value, found.shift.low, found.slope.value]).all()


# --- the slices of a test ---------------------------------------------------------------------


def a_test(n=10_000, n_people=3_000, seed=0):
    rng = np.random.default_rng(seed)
    people = np.array([f"r{i:05}" for i in rng.integers(0, n_people, n)])
    p = rng.beta(2, 5, n)
    y = (rng.random(n) < p).astype(float)
    families = {
        f"family {k}": np.array([f"part {j}" for j in rng.integers(0, 2 + k, n)], object)
        for k in range(7)
    }
    return people, y, p, families


def test_worst_slices_come_first_and_small_ones_last_without_numbers():
    people, y, p, families = a_test()
    families["tiny"] = np.where(np.arange(len(y)) < 199, "few rows", "rest").astype(object)
    families["crowd"] = np.where(np.isin(people, np.unique(people)[:29]), "29", "more").astype(
        object
    )
    own = metrics.log_losses(y, p)
    gain = metrics.log_losses(y, np.full(len(y), y.mean())) - own
    people = np.where(families["crowd"] == "29", "r00000", people)
    found = slices.measured(families, people, {"value": own, "gain": gain}, (y, p))
    measured = [part for part in found if part.value is not None]
    assert found[: len(measured)] == measured
    gains = [part.gain.value for part in measured]
    assert gains == sorted(gains)
    assert {part.name for part in found[len(measured) :]} == {"few rows", "29"}
    assert sum(part.n_rows for part in found) == len(families) * len(y)


def test_a_slice_holds_the_numbers_of_its_own_rows():
    people, y, p, families = a_test()
    own = metrics.log_losses(y, p)
    found = slices.measured(families, people, {"value": own, "gain": -own}, (y, p))
    for part in found:
        rows = families[part.family] == part.name
        assert part.n_recipients == len(set(people[rows]))
        assert part.value.value == pytest.approx(metrics.log_loss(y[rows], p[rows]))
        assert part.gain.value == pytest.approx(-part.value.value)
        assert part.predicted == pytest.approx(p[rows].mean())
        assert part.observed == pytest.approx(y[rows].mean())
        assert part.excess.value == pytest.approx(p[rows].mean() - y[rows].mean())
        assert part.over_champion is None


def test_ten_thousand_rows_take_less_than_a_second():
    people, y, p, families = a_test()
    own = metrics.log_losses(y, p)
    started = time.process_time()
    found = slices.measured(families, people, {"value": own, "gain": own}, (y, p))
    assert time.process_time() - started < 1.0
    assert len(found) == 35


def test_the_champion_is_a_row_of_its_own_and_never_the_best_baseline():
    rng = np.random.default_rng(4)
    p = rng.beta(2, 5, 3_000)
    y = (rng.random(3_000) < p).astype(float)
    methods = {"model": p, "base rate": np.full(3_000, y.mean()), "champion 3": p * 0.9}
    keys = [f"r{i % 900}" for i in range(3_000)]
    spine = pl.DataFrame({"recipient_key": keys, "at": [NOW] * 3_000})
    found = tested.of_probabilities(y, methods, spine)
    assert [row.method for row in found.baselines] == ["base rate"]
    assert found.champion.method == "champion 3"
    saved = metrics.log_loss(y, p * 0.9) - metrics.log_loss(y, p)
    assert found.champion.gain.value == pytest.approx(saved)
    assert found.gain["champion 3"].mean() == pytest.approx(saved)
