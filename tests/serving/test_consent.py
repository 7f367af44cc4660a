"""Consent at score time: who has withdrawn it is answered like anybody, from the next score on."""

import pytest

from features.events.schema import SECOND_US


@pytest.fixture
def world(small_world, open_service, tmp_path):
    data = small_world.copy(tmp_path / "var").data_dir
    return open_service(data, sticky_days=30, epsilon=0.0)


def told(kind, key, at, **properties):
    return {
        "event_id": f"{kind}-{key}-{at}", "type": kind, "recipient_key": key,
        "occurred_at": at / SECOND_US, "properties": properties,
    }  # fmt: skip


def personal(answer):
    """What an answer says that could depend on who is asked about."""
    keys = ("send_time", "hold", "churn", "content", "reason_codes", "evidence_n", "feature_age_s")
    return {key: answer[key] for key in keys}


def test_from_the_next_score_on_nothing_personal_is_said_until_consent_is_given(small_world, world):
    key, other = small_world.people[3], small_world.people[4]
    asked = {"candidates": small_world.candidates, "send_id": "spring"}
    before, beside = world.score(key, **asked), world.score(other, **asked)
    assert before["fallback"]["reason"] == "none"
    assert world.events(told("consent_withdrawn", key, small_world.now - 9))["accepted"] == 1
    after = world.score(key, **asked)
    assert after["fallback"]["reason"] == "no_consent"
    assert set(after["fallback"]["parts"].values()) == {"no_consent"}
    stranger = world.score("nobody-we-know", **asked)
    assert personal(after) == personal(stranger)
    assert personal(after) != personal(before)
    assert world.score(other, **asked) == beside
    granted = told("consent_granted", key, small_world.now - 8, purpose="profiling")
    assert world.events(granted)["accepted"] == 1
    again = world.score(key, **asked)
    assert again["fallback"]["reason"] == "none"
    assert again["churn"]["p_churn"] == pytest.approx(before["churn"]["p_churn"], abs=1e-4)


def test_in_a_batch_the_neighbours_are_answered_as_ever(small_world, world):
    keys = small_world.people[:30]
    ask = {"requests": [{"recipient_key": key} for key in keys]}
    before = world.http.post("/v1/score:batch", json=ask).json()["results"]
    world.events(told("consent_withdrawn", keys[7], small_world.now - 9, purpose="profiling"))
    after = world.http.post("/v1/score:batch", json=ask).json()["results"]
    assert after[7]["fallback"]["reason"] == "no_consent"
    assert personal(after[7]) == personal(world.score("nobody-we-know"))
    del before[7], after[7]
    assert after == before


def test_a_withdrawal_from_something_else_changes_nothing(small_world, world):
    key = small_world.people[3]
    world.events(told("consent_withdrawn", key, small_world.now - 9, purpose="newsletter"))
    assert world.score(key)["fallback"]["reason"] == "none"
