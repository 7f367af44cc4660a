"""A long log is folded in another process, and ends as it would have ended here."""

import logging
import os
import signal
import subprocess
import threading

import pytest

from features.definitions.recipient import VIEW
from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.online import open_store
from features.stream import Stream
from serving import folding
from serving.folding import MANY, Folding

START, MINUTE_US = 1_700_000_000_000_000, 60_000_000
KEYS = [f"r{n}" for n in range(40)]


@pytest.fixture
def log(tmp_path):
    with EventLog(tmp_path / "events") as found:
        moments = [START + n * MINUTE_US for n in range(MANY)]
        events = [
            Event(str(n), EventType.CLICKED, KEYS[n % 40], at, at) for n, at in enumerate(moments)
        ]
        found.append(events)
        yield found


@pytest.fixture(params=["sqlite", "redis"])
def address(request, tmp_path):
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return str(tmp_path / "online.sqlite")


def states_of(store):
    return store.get(VIEW.entity, KEYS)


def test_many_events_are_folded_outside_and_few_in_this_process(log, address, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with open_store(address) as store, open_store(str(tmp_path / "own.sqlite")) as own:
        here = Stream(log, own)
        here.catch_up()
        there = Folding(Stream(log, store), address=address)
        there.catch_up()
        assert "a process of its own" in caplog.text
        assert address not in caplog.text
        assert states_of(store) == states_of(own)
        caplog.clear()
        log.append([Event("one more", EventType.OPENED, "r1", START, START)])
        here.catch_up()
        there.catch_up()
        assert not caplog.records
        assert states_of(store) == states_of(own)


def test_where_the_other_process_is_killed_this_one_goes_on(log, tmp_path, monkeypatch, caplog):
    class Killed(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            os.kill(self.pid, signal.SIGKILL)

    with open_store(str(tmp_path / "online.sqlite")) as store:
        stream = Stream(log, store)
        monkeypatch.setattr(folding.subprocess, "Popen", Killed)
        Folding(stream, address=str(tmp_path / "online.sqlite")).catch_up()
        assert stream.behind() == 0
        assert "ended with -9" in caplog.text
        assert None not in states_of(store)


def test_a_service_that_ends_does_not_wait_for_it(log, tmp_path):
    with open_store(str(tmp_path / "online.sqlite")) as store:
        stream = Stream(log, store)
        there = Folding(stream, address=str(tmp_path / "online.sqlite"))
        with stream.turns.taken():  # the other process waits for its turn
            work = threading.Thread(target=there._outside)
            work.start()
            while there._child is None:
                pass
            there.stop()
            work.join(timeout=30)
            assert not work.is_alive()
        assert stream.behind() == MANY
        there.catch_up()
        assert stream.behind() == 0
