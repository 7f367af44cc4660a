"""More calls than can be answered: scores by the priors, events 503, and nobody waits in a line."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event, Thread

import httpx2
import pytest

from serving.http.rooms import BATCHES, INTAKES
from tests.serving.load import Sender


@pytest.fixture
def service(small_world, start_process, tmp_path):
    copied = small_world.copy(tmp_path / "var")
    process = start_process(copied.data_dir, OPPORTUNE_DEADLINE_MS="150")
    for _ in range(20):
        process.score(copied.people[0])
    return process


def reasons_of(answer):
    return {one["fallback"]["reason"] for one in answer.json()["results"]}


def test_batches_beyond_the_room_are_answered_by_the_priors(small_world, service, is_complete):
    many = BATCHES * 4
    requests = [{"recipient_key": key} for key in small_world.people * 3][:1_000]
    body = {"requests": requests}

    def batch(n):
        headers = {"x-on-error": "status"} if n % 4 == 3 else {}
        return httpx2.post(f"{service.url}/v1/score:batch", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(many) as pool:
        answers = list(pool.map(batch, range(many)))
    assert {a.status_code for n, a in enumerate(answers) if n % 4 != 3} == {200}
    refused = [a for a in answers if a.status_code == 503]
    assert all(a.headers["retry-after"] for a in refused)
    scored = [a for a in answers if a.status_code == 200]
    assert len(scored) + len(refused) == many
    for answer in scored:
        assert len(answer.json()["results"]) == len(requests)
        is_complete(answer.json()["results"][-1])
    assert sum("none" in reasons_of(a) for a in scored) >= BATCHES
    assert any(reasons_of(a) == {"overloaded"} for a in scored)
    assert reasons_of(batch(0)) <= {"none", "no_evidence", "unknown_recipient"}


def test_health_and_scores_are_answered_beside_batches(small_world, service):
    stop = Event()
    body = {"requests": [{"recipient_key": key} for key in small_world.people[:200]]}

    def batches():
        with httpx2.Client(timeout=60) as http:
            while not stop.is_set():
                assert http.post(f"{service.url}/v1/score:batch", json=body).status_code == 200

    threads = [Thread(target=batches) for _ in range(BATCHES)]
    bodies = [{"recipient_key": key} for key in small_world.people[:50]]
    for thread in threads:
        thread.start()
    sender = Sender(service.url, bodies, per_s=100)
    took = []
    for path in ("healthz", "readyz", "metrics") * 10:
        answer = httpx2.get(f"{service.url}/{path}", timeout=10)
        assert answer.status_code == 200
        took.append(answer.elapsed.total_seconds())
    told = sender.stop()
    stop.set()
    for thread in threads:
        thread.join()
    assert told.not_200 == []
    assert told.incomplete == []
    assert max(took) < 2.0


def test_events_beyond_the_room_are_refused_at_once_and_none_is_lost(service, eventually):
    """Another writer holds the log: those with room wait for it, the others try again later."""
    many = INTAKES + 10
    answers = []

    def post(n):
        event = {
            "event_id": f"e{n}", "type": "clicked", "recipient_key": f"r{n}",
            "occurred_at": 1_700_000_000,
        }  # fmt: skip
        body = {"events": [event]}
        answers.append(httpx2.post(f"{service.url}/v1/events", json=body, timeout=60))
        return answers[-1]

    log = service.data_dir / "events" / "log.sqlite"
    assert log.is_file()
    with closing(sqlite3.connect(log, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(many) as pool:
            told = [pool.submit(post, n) for n in range(many)]
            eventually(lambda: len(answers) == many - INTAKES)
            assert {answer.status_code for answer in answers} == {503}
            assert all(answer.headers["retry-after"] for answer in answers)
            assert service.score("r0")["fallback"]["reason"] == "unknown_recipient"
            other.execute("ROLLBACK")
            status = [one.result().status_code for one in told]
    assert status.count(200) == INTAKES
    for n in range(many):
        assert status[n] == 503 or service.score(f"r{n}")["evidence_n"] == 1
        assert post(n).json()["duplicate"] == (status[n] == 200)
