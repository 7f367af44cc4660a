"""Laws of the metrics: what is counted is what was answered, at a cost that nobody sees."""

import math
from itertools import pairwise

import pytest

from serving import kept
from serving.decision_log import Lost
from serving.holding import HoldReason
from serving.http.metrics import AGE_S
from serving.kept import Keeper, Kept
from serving.stages import Laps, Stage
from tests.serving.observed import N_BATCH, N_SINGLE, exercise, samples, served, total

SCORES = N_SINGLE + 1  # in full: the batch is one call; one more by the priors, and a render
KEPT = Kept(1, "a", 1.0, False, 2, 1.0, False, HoldReason.NONE, 1.0, False)


@pytest.fixture(scope="module")
def seen(small_world, tmp_path_factory):
    """The answers, and what was counted."""
    world = small_world.copy(tmp_path_factory.mktemp("metrics") / "var")
    with served(world, epsilon=0.5, epsilon_hour=0.5) as http:
        before = samples(http)
        answers = exercise(http, world)
        yield world, before, answers, samples(http)


def test_each_stage_is_timed_once_a_call_and_all_are_within_the_calls(seen):
    _, before, _, found = seen
    assert total(before, "opportune_stage_seconds_count") == 0.0  # rehearsals are not counted
    calls = {stage.value: SCORES + 1 for stage in (Stage.READ, Stage.SCORE)}
    calls |= {stage.value: SCORES + 2 for stage in (Stage.DECIDE, Stage.WRITE)}
    for stage, n in calls.items():
        assert total(found, "opportune_stage_seconds_count", stage=stage) == n, stage
        assert total(found, "opportune_stage_seconds_sum", stage=stage) > 0.0
    spent = total(found, "opportune_stage_seconds_sum")
    assert spent < total(found, "opportune_request_seconds_sum")


def test_ages_are_those_of_the_answers(seen):
    _, _, answers, found = seen
    ages = [one["feature_age_s"] for one in answers if one["feature_age_s"] >= 0]
    ages.append(answers[1]["feature_age_s"])  # the render, of the second recipient
    assert len(ages) >= N_BATCH - 10
    assert total(found, "opportune_feature_age_seconds_count") == len(ages)
    assert total(found, "opportune_feature_age_seconds_sum") == sum(ages)
    buckets = [one for one in found if one.name == "opportune_feature_age_seconds_bucket"]
    assert [float(one.labels["le"]) for one in buckets] == [*AGE_S, math.inf]
    for one in buckets:
        assert one.value == sum(age <= float(one.labels["le"]) for age in ages)


def test_what_was_drawn_is_counted(seen):
    _, _, answers, found = seen
    drawn = {
        "hour": sum(one["send_time"]["explored"] for one in answers),
        "item": sum(one["content"]["explored"] for one in answers),
        "hold": sum(one["hold"]["explored"] for one in answers),
    }
    assert min(drawn.values()) > 0
    for what, n in drawn.items():
        assert 0 <= total(found, "opportune_explored_total", what=what) - n <= 1  # the render's


def test_no_label_says_who_or_what(seen):
    world, _, _, found = seen
    told = {value for one in found for value in one.labels.values()}
    secret = {*world.people, *world.items, *(f"send-{n}" for n in range(N_SINGLE)), "nobody-1"}
    assert len(told) > 30
    assert not told & secret


def test_what_an_alert_looks_at_begins_at_zero(seen):
    _, before, _, _ = seen
    for name, label, values in (
        ("opportune_decisions_lost_total", "why", list(Lost)),
        ("opportune_kept_lost_total", "why", list(Lost)),
        ("opportune_bundles_refused_total", "model", ["send_time", "churn"]),
        ("opportune_breaker_opened_total", "dependency", ["online_store"]),
        ("opportune_events_total", "outcome", ["accepted"]),
    ):
        for value in values:
            one = [s for s in before if s.name == name and s.labels == {label: value}]
            assert [s.value for s in one] == [0.0], (name, value)


def test_decisions_that_are_kept_here_alone_are_counted(tmp_path, monkeypatch):
    lost = []
    (tmp_path / "file").touch()  # where a folder would have to be
    address = str(tmp_path / "file" / "kept.sqlite")
    keeper = Keeper(address, days=1, lost=lambda why, n: lost.append((why, n)))
    monkeypatch.setattr(kept, "ROOM", 3)
    for n in range(5):
        keeper.keep(f"mail-{n}", KEPT)
    assert lost == [(Lost.QUEUE_FULL, 1)] * 2
    keeper._flush()
    assert lost[2:] == [(Lost.NOT_WRITTEN, 3)]
    assert set(keeper.recall([f"mail-{n}" for n in range(5)], now=1)) == {
        f"mail-{n}" for n in range(5)
    }
    keeper.stop()


def test_a_batch_adds_up_its_turns_and_leaves_out_nothing():
    laps = Laps()
    for stage in (Stage.READ, Stage.SCORE, Stage.READ, Stage.SCORE, Stage.WRITE):
        laps.end(stage)
    parts = list(laps.parts())
    assert [stage for stage, _, _ in parts] == ["read", "score", "read", "score", "write"]
    assert all(one[2] == other[1] for one, other in pairwise(parts))
    whole = (parts[-1][2] - parts[0][1]) / 1e9
    assert sum(laps.seconds().values()) == pytest.approx(whole)
    assert set(laps.seconds()) == {Stage.READ, Stage.SCORE, Stage.WRITE}
