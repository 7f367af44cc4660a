"""Nobody waits longer than the deadline: what is not known by then is a prior, and it is said."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx2
import pytest

from features.online import open_reader
from models.registry import ModelFolder
from serving.asks import Ask
from serving.deadline import NEVER, Deadline
from serving.decider import CHUNK, Decider
from serving.fallback import FallbackReason as Why
from serving.loader import Loader

SOON = {"x-deadline-ms": "0.001"}
NO_DEADLINES = [b"", b"soon", b"-5", b"0", b"nan", b"inf", b"1e999", b"12ms", b"\xff", b"9" * 400]


def reason(answer):
    return answer["fallback"]["reason"]


@pytest.fixture
def world(small_world, open_service):
    return open_service(small_world.data_dir)


def test_a_call_whose_time_is_over_is_answered_by_the_priors(small_world, world, is_complete):
    body = {"recipient_key": small_world.people[0], "candidates": small_world.candidates}
    answer = world.http.post("/v1/score", json=body, headers=SOON)
    assert answer.status_code == 200
    is_complete(answer.json())
    assert set(answer.json()["fallback"]["parts"].values()) == {"deadline"}
    assert set(answer.json()["models"].values()) == {"none"}
    assert "opportune_late_answers_total 1.0" in world.http.get("/metrics").text
    assert reason(world.score(small_world.people[0])) == "none"


def test_a_batch_whose_time_is_over_is_complete(small_world, world, is_complete):
    requests = [{"recipient_key": key} for key in small_world.people[:300]] + [{"bad": 1}]
    answer = world.http.post("/v1/score:batch", json={"requests": requests}, headers=SOON)
    *scored, bad = answer.json()["results"]
    assert bad["status"] == "invalid"
    assert {reason(one) for one in scored} == {"deadline"}
    for one in scored[::50]:
        is_complete(one)


def test_a_deadline_that_is_none_is_counted_and_costs_no_mail(small_world, world):
    body = {"recipient_key": small_world.people[0]}
    for n, header in enumerate(NO_DEADLINES, start=1):
        answer = world.http.post("/v1/score", json=body, headers={"x-deadline-ms": header})
        assert answer.status_code == 200, header
        assert reason(answer.json()) == "none", header
        told = world.http.get("/metrics").text
        assert f"opportune_deadlines_ignored_total {n}.0" in told, header


def test_a_caller_lowers_the_deadline_and_never_raises_it(small_world, open_service):
    hasty = open_service(small_world.data_dir, deadline_ms=0.001)
    body = {"recipient_key": small_world.people[0]}
    for headers in ({}, {"x-deadline-ms": "60000"}):
        answer = hasty.http.post("/v1/score", json=body, headers=headers)
        assert reason(answer.json()) == "deadline"


@pytest.fixture
def decider(small_world):
    loader = Loader(ModelFolder(small_world.data_dir / "models"))
    loader.look()
    with open_reader(small_world.data_dir / "online.sqlite") as store:
        yield Decider(store, loader)


def ticking(step_s):
    """A clock that goes on by a step each time somebody looks."""
    times = count()
    return lambda: next(times) * step_s


def test_a_batch_keeps_what_was_done_in_time(small_world, decider):
    asks = [Ask(key) for key in small_world.people[: CHUNK * 4]]
    whole = decider.score(asks, now=small_world.now, deadline=NEVER)
    kept = []
    for within_s in (0.5, 3.0, 5.0, 100.0):
        deadline = Deadline(0.0, within_s, ticking(1.0))
        told = decider.score(asks, now=small_world.now, deadline=deadline)
        assert len(told) == len(asks)
        done = [one.prediction.reasons["churn"] is not Why.DEADLINE for one in told]
        kept.append(sum(done))
        assert done == sorted(done, reverse=True)
        for mine, full, is_done in zip(told, whole, done, strict=True):
            assert not is_done or mine.prediction.p_churn == full.prediction.p_churn
            assert is_done or not mine.champions.by_name
    assert kept == sorted(kept)
    assert kept[0] == 0 < kept[1] < kept[2] < kept[3] == len(asks)


@pytest.fixture
def service(small_world, start_process, tmp_path):
    """A process that answers within 2 s, warmed by a first call."""
    copied = small_world.copy(tmp_path / "var")
    process = start_process(copied.data_dir, OPPORTUNE_DEADLINE_MS="2000")
    process.score(copied.people[0])
    return process


def answers_after(service, stopped_s, *headers):
    """What calls get that lay in their sockets for so long: the process stood still."""
    service.child.send_signal(signal.SIGSTOP)

    def ask(header):
        body = {"recipient_key": "somebody"}
        return httpx2.post(f"{service.url}/v1/score", json=body, headers=header, timeout=30)

    with ThreadPoolExecutor(len(headers)) as pool:
        waiting = [pool.submit(ask, header) for header in headers]
        time.sleep(stopped_s)  # the process's own time: there is nothing to wait for
        service.child.send_signal(signal.SIGCONT)
        return [one.result() for one in waiting]


def test_waiting_for_the_loop_counts(service):
    """From the middle of the time on a call is not worth computing, and says so if asked to."""
    shed, told = answers_after(service, 1.5, {}, {"x-on-error": "status"})
    assert (shed.status_code, reason(shed.json())) == (200, "overloaded")
    assert told.status_code == 503
    assert told.headers["retry-after"]
    late, also_late = answers_after(service, 3.0, {}, {"x-on-error": "status"})
    assert (late.status_code, reason(late.json())) == (200, "deadline")
    assert (also_late.status_code, reason(also_late.json())) == (200, "deadline")
    assert reason(service.score("somebody")) == "unknown_recipient"
