"""Several processes behind one port are one service."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx2
import psutil
import pytest

from tests.serving.asking import bodies_of
from tests.serving.load import CONNECTIONS, PER_S, Sender

CLIENTS, BATCHES, EACH = 6, 8, 25


@pytest.fixture
def service(start_process, tmp_path):
    return start_process(tmp_path, OPPORTUNE_WORKERS="2")


def workers_of(service):
    """The processes that serve: not the one that watches them, nor multiprocessing's own."""
    found = []
    for child in psutil.Process(service.child.pid).children():
        with suppress(psutil.Error):  # it may end at this moment
            if any("spawn_main" in part for part in child.cmdline()):
                found.append(child)
    return found


def counted(service, outcome):
    page = httpx2.get(f"{service.url}/metrics").text
    name = f'opportune_events_total{{outcome="{outcome}"}} '
    found = [line.removeprefix(name) for line in page.splitlines() if line.startswith(name)]
    return float(found[0]) if found else 0.0


def keys_of(client):
    return [f"r-{client}-{batch}" for batch in range(BATCHES)]


def post_all(service, client):
    with httpx2.Client(base_url=service.url, timeout=30) as http:
        for batch, key in enumerate(keys_of(client)):
            events = [
                {
                    "event_id": f"e-{client}-{batch}-{i}",
                    "type": "clicked",
                    "recipient_key": key,
                    "occurred_at": 1_770_000_000 + 3_600 * i,
                }
                for i in range(EACH)
            ]
            answer = http.post("/v1/events", json={"events": events})
            assert answer.status_code == 200, answer.text
            assert answer.json()["accepted"] == EACH


def test_what_one_took_in_all_score_with_and_count(service, eventually):
    eventually(lambda: len(workers_of(service)) == 2)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda client: post_all(service, client), range(CLIENTS)))
    keys = [key for client in range(CLIENTS) for key in keys_of(client)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(service.score, keys))  # a connection each: whoever accepts it
    assert {answer["evidence_n"] for answer in answers} == {EACH}
    assert {counted(service, "accepted") for _ in range(10)} == {CLIENTS * BATCHES * EACH}


def test_a_killed_worker_is_replaced_and_takes_nothing_with_it(service, eventually):
    eventually(lambda: len(workers_of(service)) == 2)
    post_all(service, 0)
    before = {worker.pid for worker in workers_of(service)}
    workers_of(service)[0].kill()
    eventually(lambda: len({w.pid for w in workers_of(service)} - before) == 1)
    post_all(service, 1)
    for client in range(2):
        for key in keys_of(client):
            assert service.score(key)["evidence_n"] == EACH
    assert counted(service, "accepted") == 2 * BATCHES * EACH


def test_only_the_calls_a_killed_worker_held_are_lost_and_none_is_answered_wrongly(
    small_world, start_process, tmp_path, eventually
):
    """A connection ends with its process: nobody can answer on it. The next one is another's."""
    copy = small_world.copy(tmp_path / "var")
    service = start_process(copy.data_dir, OPPORTUNE_WORKERS="2")
    before = eventually(lambda: len(found := workers_of(service)) == 2 and found)
    sender = Sender(service.url, bodies_of(copy), per_s=PER_S)
    time.sleep(1)
    before[0].kill()
    eventually(lambda: len({w.pid for w in workers_of(service)} - {w.pid for w in before}) == 1)
    time.sleep(1)
    told = sender.stop()
    assert told.n > PER_S
    assert told.not_200 == []
    assert told.n_refused == 0
    assert len(told.incomplete) <= CONNECTIONS
    ended = ("Disconnected", "ConnectionReset", "BrokenPipe", "IncompleteRead")  # head, no body
    assert all(any(how in why for how in ended) for why in told.incomplete), told.incomplete


def test_workers_end_when_the_parent_is_killed(service, eventually):
    workers = eventually(lambda: len(found := workers_of(service)) == 2 and found)
    service.stop(signal.SIGKILL)
    assert psutil.wait_procs(workers, timeout=20)[1] == []
