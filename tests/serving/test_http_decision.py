"""Rules, holding back, throttles and the holdout, over HTTP."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

HOUR = timedelta(hours=1)


@pytest.fixture
def world(small_world, open_service):
    return open_service(small_world.data_dir)


@pytest.fixture
def now(small_world):
    return datetime.fromtimestamp(small_world.now / 1e6, UTC)


def test_no_hour_of_the_answer_is_quiet_on_the_recipients_clock(small_world, world):
    for key in small_world.people[:20]:
        rules = {"quiet_hours": {"start": "21:00", "end": "08:00"}}
        answer = world.score(key, rules=rules, timezone="Asia/Kathmandu")
        hours = [slot["at_epoch"] for slot in answer["send_time"]["slots"]]
        for at in (*hours, answer["send_time"]["best_at_epoch"]):
            local = datetime.fromtimestamp(at, ZoneInfo("Asia/Kathmandu"))
            assert 8 <= local.hour < 21
        assert not answer["hold"]["hold_back"]


def test_a_closed_window_is_held_and_said_until_when(world, now):
    begin, end = now + HOUR, now + 5 * HOUR
    answer = world.score(
        "somebody", window_from=begin.isoformat(), window_to=end.isoformat(),
        rules={"blackouts": [{"start": now.isoformat(), "end": (now + 9 * HOUR).isoformat()}]},
    )  # fmt: skip
    hold = answer["hold"]
    assert (hold["hold_back"], hold["reason"]) == (True, "no_allowed_hour")
    assert answer["send_time"]["binding_constraint"] == "blackout"
    assert hold["until_epoch"] == answer["send_time"]["best_at_epoch"]
    until = datetime.fromisoformat(hold["until"])
    assert now + 9 * HOUR <= until <= now + 10 * HOUR
    gone = world.score("somebody", rules={"expires_at": "2020-01-01T00:00:00Z"})["hold"]
    assert (gone["reason"], gone["until"], gone["until_epoch"]) == ("never_allowed", "", 0)


def test_a_mail_is_held_back_by_the_senders_own_values_only(small_world, open_service):
    world = open_service(small_world.data_dir, epsilon=0.0)
    key = small_world.people[0]
    free = world.score(key)
    assert not free["hold"]["hold_back"]
    assert free["hold"]["value"] == pytest.approx(free["send_time"]["p_engage"], abs=1e-6)
    costly = world.score(key, values={"engagement": 1, "unsubscribe": 1e6})
    assert costly["hold"]["reason"] == "not_worth_it"
    assert costly["hold"]["value"] < 0
    stranger = world.score("nobody-knows-me", values={"engagement": 1, "unsubscribe": 1e6})
    assert not stranger["hold"]["hold_back"]


def test_a_batch_shares_its_hours(small_world, world):
    asked = [{"recipient_key": key} for key in small_world.people[:40]]
    body = {"requests": [*asked, {"recipient_key": ""}], "throttle": {"per_hour": 3}}
    *answers, refused = world.http.post("/v1/score:batch", json=body).json()["results"]
    assert refused["status"] == "invalid"
    hours = [answer["send_time"]["best_at_epoch"] for answer in answers]
    assert max(hours.count(hour) for hour in hours) == 3
    full = {"per_hour": 1, "planned": {str(hour): 1 for hour in set(hours)}}
    again = world.http.post("/v1/score:batch", json={"requests": asked, "throttle": full}).json()
    later = [answer["send_time"]["best_at_epoch"] for answer in again["results"]]
    assert not set(later) & set(hours)
    assert len(set(later)) == len(later)


def test_who_is_held_out_is_told_the_senders_own(small_world, open_service, now):
    world = open_service(small_world.data_dir, holdout=0.3, epsilon=0.5, epsilon_hour=0.5)
    wanted = (now + 7 * HOUR).replace(minute=0, second=0, microsecond=0)
    asked = {"default_at": wanted.isoformat(), "candidates": small_world.candidates}
    arms = {}
    for send in ("a", "b"):
        for key in small_world.people[:60]:
            answer = world.score(key, send_id=send, **asked)
            arms.setdefault(key, set()).add(answer["arm"])
            if answer["arm"] == "holdout":
                assert answer["send_time"]["best_at_epoch"] == wanted.timestamp()
                assert answer["send_time"]["propensity"] == answer["content"]["propensity"] == 1
                shown = [row["content_id"] for row in answer["content"]["ranking"]]
                assert shown == [one["content_id"] for one in small_world.candidates]
                assert world.score(key, send_id=send, test=True, **asked)["arm"] == "personal"
    assert all(len(told) == 1 for told in arms.values())
    assert 5 < sum(told == {"holdout"} for told in arms.values()) < 35
    page = world.http.get("/metrics").text
    assert 'opportune_decisions_total{arm="holdout",binding="holdout",hold="none"}' in page


@pytest.mark.parametrize(
    "more",
    [
        {"rules": {"quiet_hours": {"start": "25:00", "end": "08:00"}}},
        {"rules": {"quiet_hours": {"start": "21:00"}}},
        {
            "rules": {
                "blackouts": [{"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}]
            }
        },
        {"rules": {"cap": {"most": 0, "days": 7}}},
        {"rules": {"cap": {"most": 1, "days": 0}}},
        {"rules": {"expires_at": "1811-01-01T00:00:00Z"}},
        {"rules": {"quite_hours": {}}},
        {"values": {"engagement": -1}},
    ],
)
def test_a_mistake_in_the_rules_is_named(world, more):
    answer = world.http.post("/v1/score", json={"recipient_key": "r", **more})
    assert answer.status_code == 400
    assert any(next(iter(more)) in error for error in answer.json()["errors"])


def test_a_throttle_of_nonsense_is_refused(world):
    body = {"requests": [], "throttle": {"per_hour": 5, "planned": {"tomorrow": 3}}}
    assert world.http.post("/v1/score:batch", json=body).status_code == 400
