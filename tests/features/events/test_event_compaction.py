"""Laws of the Parquet copy: `scan` is `read`, before, during and after, and over any crash."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading

import polars as pl
import pytest

from features.errors import StoreUnavailableError
from features.events import compact
from features.events.log import EventLog
from features.events.schema import DAY_US, Event, EventType

START = 19_700 * DAY_US


def events(first: int, last: int) -> list[Event]:
    """Five days of events, learnt up to two days late."""
    rng = random.Random(first)
    found = []
    for n in range(first, last):
        occurred = START + rng.randrange(5 * DAY_US)
        received = occurred + rng.randrange(2 * DAY_US)
        topics = ("a", "ü|'") if n % 2 else ()
        found.append(
            Event(f"e{n}", EventType.OPENED, f"r{n % 7}", occurred, received, topics=topics)
        )
    return found


def agrees(log: EventLog) -> None:
    scanned = log.scan().collect().sort("offset")
    read = log.read(limit=1_000_000)
    assert scanned.schema == compact.SCHEMA
    assert scanned["offset"].to_list() == [offset for offset, _ in read]
    columns = ("event_id", "recipient_key", "occurred_at", "received_at")
    for name in columns:
        assert scanned[name].to_list() == [getattr(item, name) for _, item in read]
    assert scanned["topics"].to_list() == [list(item.topics) for _, item in read]


@pytest.fixture
def small_ranges(monkeypatch):
    monkeypatch.setattr(compact, "RANGE_ROWS", 70)


@pytest.mark.usefixtures("small_ranges")
def test_scan_is_read_before_between_and_after_compactions(tmp_path):
    with EventLog(tmp_path) as log:
        agrees(log)
        for first, last in ((0, 1), (1, 200), (200, 333)):
            log.append(events(first, last))
            agrees(log)
            assert log.compact() == last - first
            agrees(log)
            assert log.compact() == 0
    names = {path.parent.name for path in tmp_path.glob("parquet/*/*.parquet")}
    assert names <= {f"day=2023-12-{day:02d}" for day in range(9, 17)}


def test_as_of_hides_what_happened_or_was_learnt_later(tmp_path):
    with EventLog(tmp_path) as log:
        log.append(events(0, 300))
        log.compact()
        log.append(events(300, 400))
        everything = log.read()
        for as_of in (START, START + DAY_US, START + 3 * DAY_US, everything[5][1].received_at):
            known = {
                offset
                for offset, item in everything
                if item.received_at < as_of and item.occurred_at < as_of
            }
            assert set(log.scan(as_of=as_of).collect()["offset"]) == known


@pytest.mark.usefixtures("small_ranges")
def test_no_row_is_missed_or_doubled_while_compactions_and_appends_run(tmp_path):
    with EventLog(tmp_path) as log:
        log.append(events(0, 500))
        stop = threading.Event()

        def work() -> None:
            first = 500
            while not stop.is_set() and first < 20_000:
                log.append(events(first, first + 90))
                log.compact()
                first += 90

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for _ in range(25):
                before = log.head()
                offsets = log.scan().select("offset").collect()["offset"].sort().to_list()
                assert offsets == list(range(1, len(offsets) + 1))
                assert before <= len(offsets) <= log.head()
        finally:
            stop.set()
            worker.join()
        agrees(log)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("stage", ["planned", "temporary files", "some parts", "all parts", "lost"])
def test_a_crash_at_any_point_of_a_compaction_changes_nothing(tmp_path, stage):
    with EventLog(tmp_path) as log:
        log.append(events(0, 60))
        log.compact()
        log.append(events(60, 100))
        before = set(tmp_path.glob("parquet/*/*.parquet"))
        log.compact()
        parts = sorted(set(tmp_path.glob("parquet/*/*.parquet")) - before)
        assert len(parts) > 2
        if stage != "lost":
            connection = sqlite3.connect(tmp_path / "log.sqlite")
            with connection:
                connection.execute("UPDATE compactions SET state='planned', parts=0 WHERE first=61")
            connection.close()
        kept = {"some parts": len(parts) // 2, "all parts": len(parts)}.get(stage, 0)
        for part in parts[kept:]:
            part.unlink()
            if stage == "temporary files":
                part.with_name(f".{part.name}.tmp").write_bytes(b"PAR1 half a file")
        if stage == "lost":
            with pytest.raises(StoreUnavailableError, match="compact the log"):
                log.scan()
        else:
            agrees(log)
        assert log.compact() == 40
        agrees(log)
    assert not list(tmp_path.glob("parquet/*/.*"))


COMPACTOR = """
import sys
from pathlib import Path
from features.events import compact
from features.events.log import EventLog
compact.RANGE_ROWS = 40
log = EventLog(Path(sys.argv[1]))
print("ready", flush=True)
log.compact()
"""


def test_kill_9_at_random_moments_of_compaction_changes_nothing(tmp_path):
    rng = random.Random(8)
    was_killed = 0
    with EventLog(tmp_path) as log:
        for n in range(6):
            log.append(events(n * 2_000, (n + 1) * 2_000))
            child = subprocess.Popen(
                [sys.executable, "-c", COMPACTOR, tmp_path], stdout=subprocess.PIPE
            )
            with child:
                child.stdout.readline()
                try:  # the wait only chooses the moment; the law holds at every one
                    child.wait(rng.uniform(0.05, 0.6))
                except subprocess.TimeoutExpired:
                    child.kill()
            was_killed += child.returncode == -signal.SIGKILL
            agrees(log)
        log.compact()
        agrees(log)
        paths = list(tmp_path.glob("parquet/*/part-*.parquet"))
        assert sum(pl.read_parquet(p, hive_partitioning=False).height for p in paths) == log.head()
    assert was_killed > 0


@pytest.mark.usefixtures("small_ranges")
def test_a_crash_while_a_lost_range_in_the_middle_is_made_again_changes_nothing(tmp_path):
    with EventLog(tmp_path) as log:
        log.append(events(0, 300))
        log.compact()
        connection = sqlite3.connect(tmp_path / "log.sqlite")
        with connection:
            connection.execute("UPDATE compactions SET state = 'planned' WHERE first IN (71, 211)")
        connection.close()
        agrees(log)
        assert log.compact() == 140
        agrees(log)
