"""Events over HTTP: in the next score, once, and durable whatever happens to the process."""

import gc
import signal
import sqlite3
import threading

import httpx2
import pytest

from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events import database
from features.events.log import EventLog
from features.events.schema import HOUR_US, SECOND_US, parse_event
from features.layout import layout_of
from features.packed import PackedStore
from features.packing import unpack
from features.stream import Stream
from tests.features.oracle import alike

ADDRESS = "jane.doe@example.org"


@pytest.fixture
def world(small_world, open_service, tmp_path):
    return open_service(small_world.copy(tmp_path / "var").data_dir)


@pytest.fixture
def click(small_world):
    """A click of somebody, some hours before the world's end."""

    def made(event_id, key, *, hours=1.0, **more):
        at = small_world.now - round(hours * HOUR_US)
        item, topics = next(iter(small_world.items.items()))
        return {
            "event_id": event_id, "type": "clicked", "recipient_key": key,
            "occurred_at": at / SECOND_US, "content_id": item, "topics": topics, **more,
        }  # fmt: skip

    return made


def test_an_accepted_event_is_in_the_very_next_score(small_world, world, click):
    for n, key in enumerate(["new-one", small_world.people[5], small_world.people[-1]]):
        before = world.score(key, candidates=small_world.candidates)
        burst = [click(f"burst-{n}-{i}", key, hours=2 * i + 0.01) for i in range(6)]
        assert world.events(*burst) == {"accepted": 6, "duplicate": 0, "rejected": []}
        after = world.score(key, candidates=small_world.candidates)
        assert after["evidence_n"] > before["evidence_n"]
        assert 0 <= after["feature_age_s"] < 60
        assert after["fallback"]["reason"] == "none"
        assert after["churn"]["p_churn"] != before["churn"]["p_churn"]
        assert after["content"]["ranking"] != before["content"]["ranking"]


def test_the_collector_leaves_alone_what_was_there_before_the_first_call(world):
    frozen = gc.get_freeze_count()
    assert frozen > len(gc.get_objects()) // 2
    assert world.score("anybody")["recipient_key"] == "anybody"
    assert gc.get_freeze_count() <= frozen


def test_a_call_may_be_repeated_at_will(small_world, world, click):
    key = small_world.people[5]
    events = [click(f"again-{n}", key, hours=n + 1) for n in range(4)]
    assert world.events(*events, events[0]) == {"accepted": 4, "duplicate": 1, "rejected": []}
    once = world.score(key, candidates=small_world.candidates)
    for _ in range(3):
        assert world.events(*events) == {"accepted": 0, "duplicate": 4, "rejected": []}
    other = click("again-0", "somebody-else", hours=3)  # the id decides, not the body
    assert world.events(other)["duplicate"] == 1
    assert world.score(key, candidates=small_world.candidates) == once
    assert world.score("somebody-else")["fallback"]["reason"] == "unknown_recipient"
    assert world.events() == {"accepted": 0, "duplicate": 0, "rejected": []}


@pytest.mark.parametrize("blank", [" ", "\t \n", "\u00a0", "\u2003"])
def test_a_key_of_nothing_but_spaces_is_refused_beside_its_neighbours(world, click, blank):
    told = world.events(click("blank", blank), click("spaced", " r "))
    assert told["accepted"] == 1
    (refused,) = told["rejected"]
    assert (refused["field"], refused["reason"]) == ("recipient_key", "missing_field")
    assert "a blank key names nobody" in refused["message"]
    assert world.score(" r ")["evidence_n"] == 1


def test_bad_events_are_named_and_their_neighbours_are_stored(small_world, world, click):
    late = small_world.now / SECOND_US + 3_600
    bad = {
        "missing_field": {"event_id": "b0", "type": "clicked"},
        "unknown_type": click("b1", "r", type="posted"),
        "bad_time": click("b2", "r", occurred_at="yesterday"),
        "future_time": click("b3", "r", occurred_at=late),
        "not_finite": click("b4", "r", value=1e300),
        "unknown_field": click("b5", "r", colour="red"),
        "too_long": click("b6", "r" * 300),
        "bad_value": click("b7", "r", timezone="No/Where"),
        "address_as_key": click("b8", ADDRESS),
    }
    events = []
    for n, event in enumerate(bad.values()):
        events += [event, click(f"good-{n}", "neighbour", hours=n + 1)]
    told = world.events(*events, "text", None, 7)
    assert told["accepted"] == len(bad)
    rows = told["rejected"]
    assert [row["reason"] for row in rows[: len(bad)]] == list(bad)
    assert [row["index"] for row in rows] == [*range(0, 2 * len(bad), 2), *range(18, 21)]
    for row, event in zip(rows, bad.values(), strict=False):
        assert row["event_id"] == event["event_id"]
        assert row["message"].startswith(f"{row['field']}: {row['reason']}; ")
        assert len(row["message"]) > len(f"{row['field']}: {row['reason']}; ")
    assert world.score("neighbour")["evidence_n"] == len(bad)
    assert world.score("r")["fallback"]["reason"] == "unknown_recipient"
    page = world.http.get("/metrics").text
    assert 'opportune_events_total{outcome="future_time"} 1.0' in page
    assert 'opportune_events_total{outcome="accepted"} 9.0' in page


def test_an_event_of_a_clock_slightly_ahead_is_new_and_not_unknown(world, click):
    assert world.events(click("ahead", "early-bird", hours=-0.05))["accepted"] == 1
    answer = world.score("early-bird")
    assert answer["feature_age_s"] == 0
    assert answer["fallback"]["reason"] == "none"


def test_an_address_appears_nowhere(small_world, start_process, tmp_path, click):
    copy = small_world.copy(tmp_path / "var")
    service = start_process(copy.data_dir)
    events = [
        click("a1", ADDRESS),
        click(ADDRESS, ADDRESS),
        click("a2", "r", **{ADDRESS: 1}),
        click("a3", "r", properties={ADDRESS: [1]}),
        click("a4", "r", timezone=ADDRESS),
        {"event_id": ADDRESS, "type": ADDRESS},
    ]
    answer = service.post("/v1/events", {"events": events})
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 0
    refused = [row["reason"] for row in answer.json()["rejected"]]
    assert refused[:2] == ["address_as_key", "address_as_key"]
    texts = [answer.text, httpx2.get(f"{service.url}/metrics").text]
    service.post("/v1/score", {"recipient_key": "r", ADDRESS: ADDRESS})
    httpx2.get(f"{service.url}/{ADDRESS}")
    service.stop()
    files = [path for path in copy.data_dir.rglob("*") if path.is_file()]
    assert len(files) > 10
    for text in texts:
        assert ADDRESS not in text
    for path in files:
        assert ADDRESS.encode() not in path.read_bytes(), path


def test_more_events_than_a_call_may_hold_are_refused_whole(world, click):
    answer = world.http.post("/v1/events", json={"events": [click("x", "r")] * 5_001})
    assert answer.status_code == 400
    assert world.score("r")["fallback"]["reason"] == "unknown_recipient"


def is_told_to_wait(answer):
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_locked_log_is_503_and_a_later_call_stores_once(world, click, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.2)  # the wait alone; ten seconds in production
    holder = sqlite3.connect(world.data_dir / "events" / "log.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    body = {"events": [click("late", "patient")]}
    is_told_to_wait(world.http.post("/v1/events", json=body))
    assert world.score("patient")["fallback"]["reason"] == "unknown_recipient"
    holder.execute("ROLLBACK")
    holder.close()
    assert world.events(*body["events"])["accepted"] == 1
    assert world.events(*body["events"])["duplicate"] == 1
    assert world.score("patient")["evidence_n"] == 1


def test_a_log_that_cannot_be_written_is_503_until_it_can(tmp_path, open_service, click):
    data_dir = tmp_path / "var"
    data_dir.mkdir()
    (data_dir / "events").write_text("a file where the directory should be")
    world = open_service(data_dir)
    is_told_to_wait(world.http.post("/v1/events", json={"events": [click("e", "r")]}))
    assert world.score("r")["fallback"]["used"]
    (data_dir / "events").unlink()
    assert world.events(click("e", "r"))["accepted"] == 1
    assert world.score("r")["evidence_n"] == 1


def test_a_damaged_state_does_not_stop_the_events_of_anybody(small_world, world, click):
    victim, neighbour = small_world.people[:2]
    before = world.score(victim)["evidence_n"]
    with sqlite3.connect(world.data_dir / "online.sqlite") as store:
        query = "UPDATE states SET blob = x'00' WHERE entity = ? AND key = ?"
        assert store.execute(query, (RECIPIENT.entity, victim)).rowcount == 1
    store.close()
    assert world.score(victim)["fallback"]["reason"] == "state_unreadable"
    events = [click(f"{key}-1", key, hours=0.01) for key in (victim, neighbour)]
    answer = world.http.post("/v1/events", json={"events": events})
    assert answer.status_code == 200
    assert world.score(neighbour)["feature_age_s"] < 60
    healed = world.score(victim)
    assert healed["fallback"]["reason"] == "none"
    assert healed["evidence_n"] >= before


def test_a_service_starts_over_a_damaged_state_with_events_to_fold(
    small_world, tmp_path, open_service, click
):
    copy = small_world.copy(tmp_path / "var")
    with EventLog(copy.data_dir / "events") as log:
        log.append([parse_event(click("x", copy.people[0]), received_at=copy.now)])
    with sqlite3.connect(copy.data_dir / "online.sqlite") as store:
        store.execute("UPDATE states SET blob = x'00' WHERE key = ?", (copy.people[0],))
    store.close()
    world = open_service(copy.data_dir)
    assert world.score(copy.people[1])["fallback"]["reason"] == "none"


def states(store):
    """Every state, by (view, key)."""
    found = {}
    for view in (RECIPIENT, CONTENT):
        keys = store.keys(view.entity, limit=10**6)
        blobs = store.get(view.entity, keys)
        found |= {
            (view, key): unpack(blob, layout_of(view))
            for key, blob in zip(keys, blobs, strict=True)
        }
    return found


class Senders:
    """Four threads that post events until the service is gone, and what was acknowledged."""

    def __init__(self, click):
        self.click = click
        self.sent, self.acknowledged = set(), set()
        self.answered = threading.Semaphore(0)

    def post(self, url, name):
        with httpx2.Client(timeout=30) as http:
            for n in range(10_000):
                ids = [f"{name}-{n}-{i}" for i in range(5)]
                events = [self.click(e, f"r{n % 7}", hours=n % 50 + i) for i, e in enumerate(ids)]
                self.sent.update(ids)
                try:
                    answer = http.post(f"{url}/v1/events", json={"events": events})
                except httpx2.HTTPError:
                    return
                assert answer.status_code == 200
                self.acknowledged.update(ids)
                self.answered.release()

    def until_the_plug_is_pulled(self, service, *, name, calls):
        workers = [
            threading.Thread(target=self.post, args=(service.url, f"{name}-{n}")) for n in range(4)
        ]
        for worker in workers:
            worker.start()
        for _ in range(calls):
            assert self.answered.acquire(timeout=30)
        service.stop(signal.SIGKILL)
        for worker in workers:
            worker.join(60)


def test_kill_9_loses_no_acknowledged_event_and_doubles_none(tmp_path, start_process, click):
    data_dir = tmp_path / "var"
    data_dir.mkdir()
    senders = Senders(click)
    service = start_process(data_dir)
    for kill in range(5):
        senders.until_the_plug_is_pulled(service, name=f"k{kill}", calls=20 + 7 * kill)
        service.start()
    scores = [service.score(f"r{n}") for n in range(7)]
    service.stop()
    assert all(score["evidence_n"] > 0 for score in scores)
    with EventLog(data_dir / "events") as log:
        stored = [event.event_id for _, event in log.read(limit=10**6)]
        assert len(senders.acknowledged) >= 5 * 20 * 5
        assert len(stored) == len(set(stored))
        assert senders.acknowledged <= set(stored) <= senders.sent
        online, again = (PackedStore(root / "online.sqlite") for root in (data_dir, tmp_path))
        with online, again:
            Stream(log, again).catch_up()
            found, wanted = states(online), states(again)
            assert found.keys() == wanted.keys()
            now = max(state.newest for state in wanted.values()) + 1
            for (view, key), state in wanted.items():
                alike(found[view, key], state, now, layout_of(view))
