"""Laws of the event log: no duplicate, no loss, one order, whatever the number of writers."""

import math
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import Actor, Event, EventType

START = 1_700_000_000_000_000
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


def event(name: object, recipient: str = "r") -> Event:
    return Event(str(name), EventType.CLICKED, recipient, START, START)


EVENTS = st.builds(
    Event,
    event_id=st.integers(0, 30).map(str),
    type=st.sampled_from(EventType),
    recipient_key=st.sampled_from("abc"),
    occurred_at=st.integers(START, START + 50),
    received_at=st.integers(START, START + 50),
    topics=st.lists(TEXTS, max_size=3).map(tuple),
    url=TEXTS,
    value=st.none().map(lambda _: math.nan)
    | st.floats(-1e12, 1e12).map(lambda x: x + 0.0),  # SQLite knows no -0.0
    utc_offset_min=st.none() | st.integers(-720, 840),
    actor=st.sampled_from(Actor),
    actor_reasons=st.lists(TEXTS, max_size=2).map(tuple),
    properties=st.dictionaries(TEXTS, st.integers(-(2**63), 2**63 - 1) | st.booleans() | TEXTS),
    schema_version=st.just(1),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(EVENTS, max_size=12), max_size=6))
def test_the_log_is_the_first_event_of_each_id_in_order_of_arrival(batches):
    first: dict[str, Event] = {}
    with tempfile.TemporaryDirectory() as root, EventLog(Path(root)) as log:
        for batch in batches:
            expected = []
            for item in batch:
                is_new = item.event_id not in first
                first.setdefault(item.event_id, item)
                expected.append(len(first) if is_new else None)
            assert log.append(batch) == expected
        stored = log.read(limit=1_000)
        by_recipient = {key: log.of_recipient(key) for key in "abc"}
        assert log.head() == len(first)
    assert [offset for offset, _ in stored] == list(range(1, len(first) + 1))
    assert [repr(item) for _, item in stored] == [repr(item) for item in first.values()]
    for key, found in by_recipient.items():
        mine = [item for item in reversed(first.values()) if item.recipient_key == key]
        assert list(map(repr, found)) == list(
            map(repr, sorted(mine, key=lambda item: item.occurred_at, reverse=True))
        )


def test_reading_page_by_page_gives_the_same_as_at_once(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([event(n) for n in range(25)])
        paged, after = [], 0
        while page := log.read(after=after, limit=4):
            paged += page
            after = page[-1][0]
        assert paged == log.read()


def test_before_the_first_append_there_is_no_file_and_everything_is_empty(tmp_path):
    with EventLog(tmp_path / "none") as log:
        assert (log.head(), log.read(), log.of_recipient("r"), log.compact()) == (0, [], [], 0)
        assert log.append([]) == []
        assert log.scan().collect().height == 0
    assert not (tmp_path / "none").exists()


WRITER = """
import sys
from pathlib import Path
from features.events.log import EventLog
from features.events.schema import Event, EventType
root, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
with EventLog(root) as log:
    for start in range(first, last, 50):
        ids = range(start, min(start + 50, last))
        log.append([Event(str(n), EventType.SENT, "r", 1, 1) for n in ids])
"""


def test_processes_that_append_overlapping_ids_store_their_union_once(tmp_path):
    spans = [(0, 3_000), (1_500, 4_500), (0, 4_500)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, str(a), str(b)], stdin=subprocess.PIPE
        )
        for a, b in spans
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    with EventLog(tmp_path) as log:
        ids = [item.event_id for _, item in log.read(limit=10_000)]
    assert sorted(ids, key=int) == [str(n) for n in range(4_500)]


def test_threads_that_share_a_log_store_their_union_once(tmp_path):
    given_offsets: list[int | None] = []
    with EventLog(tmp_path) as log:

        def write(first: int) -> None:
            for start in range(first, first + 400, 20):
                given_offsets.extend(log.append([event(n) for n in range(start, start + 20)]))
                log.read(limit=5)

        threads = [threading.Thread(target=write, args=(n,)) for n in (0, 200, 400)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {item.event_id for _, item in log.read()} == {str(n) for n in range(800)}
    assert sorted(filter(None, given_offsets)) == list(range(1, 801))


def test_a_batch_that_fails_leaves_nothing_behind(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([event("a")])
        broken = Event("c", EventType.SENT, "r", 2**70, START)
        with pytest.raises(OverflowError):
            log.append([event("b"), broken])
        assert log.append([event("b")]) == [2]


def test_a_log_of_a_newer_program_is_refused_with_the_remedy(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([event("a")])
    connection = sqlite3.connect(tmp_path / "log.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with EventLog(tmp_path) as log:
        for use in (log.head, lambda: log.append([event("b")]), log.compact, log.scan):
            with pytest.raises(StoreUnavailableError, match=r"version 99.*update the program"):
                use()


def test_what_is_no_database_or_not_writable_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "log.sqlite").write_bytes(b"no database at all " * 100)
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path, tmp_path / "file"):
        with EventLog(root) as log, pytest.raises(StoreUnavailableError, match="; "):
            log.append([event("a")])


def test_a_closed_log_stays_closed(tmp_path):
    log = EventLog(tmp_path)
    log.append([event("a")])
    log.close()
    for use in (log.head, lambda: log.append([event("b")]), log.compact, log.scan):
        with pytest.raises(StoreUnavailableError, match="closed"):
            use()
