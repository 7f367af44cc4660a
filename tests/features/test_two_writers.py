"""Two processes that fold one log into one store at once end where the scalar rule ends."""

import subprocess
import sys

import numpy as np
import pytest

from features.definitions import VIEWS
from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.layout import POOL, layout_of
from features.online import open_store
from features.packing import unpack
from features.state import State
from features.stream import AFFINITIES, PROGRESS
from tests.features.oracle import alike

START, MINUTE_US = 1_700_000_000_000_000, 60_000_000
N_EVENTS, N_RECIPIENTS, N_ITEMS = 50_000, 60, 7
KINDS = (EventType.CLICKED, EventType.OPENED, EventType.PURCHASED, EventType.PAGE_VIEWED)
WORKER = """
import sys
from pathlib import Path
from features import stream
from features.events.log import EventLog
from features.online import open_store

stream.BATCH = 700 + 90 * int(sys.argv[3])  # many turns, and never the same ones
with EventLog(Path(sys.argv[1])) as log, open_store(sys.argv[2]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    print(stream.Stream(log, store).catch_up())
"""


@pytest.fixture(params=["sqlite", "redis"])
def address(request, tmp_path):
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return str(tmp_path / "online.sqlite")


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(5)
    late = rng.integers(0, 600, N_EVENTS) * (rng.random(N_EVENTS) < 0.05)
    return [
        Event(
            str(n), KINDS[n % 4], f"r{rng.integers(N_RECIPIENTS)}",
            START + (n - int(late[n])) * MINUTE_US, START + n * MINUTE_US,
            content_id=f"i{rng.integers(N_ITEMS)}", topics=(f"t{n % 3}",), value=float(n % 9),
        )
        for n in range(N_EVENTS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def expected(events):
    """The update rule applied to every event in the order of offsets, nothing stored."""
    states = {view.entity: {} for view in VIEWS}
    for offset, event in enumerate(events, start=1):
        keys = [
            ("recipient", event.recipient_key),
            ("content", event.content_id),
            ("content", POOL),
        ]
        for view in VIEWS:
            for key in (key for entity, key in keys if entity == view.entity):
                state = states[view.entity].setdefault(key, State())
                affinity = AFFINITIES[view.entity]
                state.apply(event, layout=layout_of(view), affinity=affinity, offset=offset)
    return states


def test_two_processes_that_catch_up_at_once_lose_and_double_nothing(
    tmp_path, address, events, expected
):
    with EventLog(tmp_path / "log") as log:
        log.append(events)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "log"), address, str(me)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for me in (0, 1)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    ends = [worker.communicate(timeout=300) for worker in workers]
    assert [(w.returncode, err) for w, (_, err) in zip(workers, ends, strict=True)] == [(0, "")] * 2
    applied = [int(out) for out, _ in ends]
    assert sum(applied) >= N_EVENTS
    assert all(applied)  # nobody is starved

    at = START + 2 * N_EVENTS * MINUTE_US
    with open_store(address) as store:
        assert store.progress(PROGRESS) == N_EVENTS
        for view in VIEWS:
            layout, states = layout_of(view), expected[view.entity]
            assert sorted(states) == store.keys(view.entity, limit=1_000)
            found = [unpack(blob, layout) for blob in store.get(view.entity, list(states))]
            assert [state.seen for state in found] == [state.seen for state in states.values()]
            for mine, rule in zip(found, states.values(), strict=True):
                alike(mine, rule, at, layout)
