"""Contract of the packed store, and of the stream that fills it: nothing lost, nothing twice."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import batch
from features.assemble import read
from features.definitions import AFFINITY, VIEWS
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError, StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import Event, EventType, parse_event
from features.layout import layout_of
from features.packed import FORMAT, PackedStore
from features.state import State
from features.stream import PROGRESS, Stream

START = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
LAYOUT = layout_of(RECIPIENT)
ODD_KEYS = (
    "",
    "'; DROP TABLE states; --",
    '"',
    "../../etc/passwd",
    "\\",
    "ü\u0301✉",
    "%_",
    " ",
    "\n",
)


@pytest.fixture
def store(tmp_path):
    with PackedStore(tmp_path / "online.sqlite") as opened:
        yield opened


def event(number: int, recipient: str, kind: EventType = EventType.CLICKED) -> Event:
    at = START + number * HOUR_US // 3
    return Event(str(number), kind, recipient, at, at, content_id=f"item {number % 5}")


def state_of(*numbers: int) -> State:
    state = State()
    for number in numbers:
        state.apply(event(number, "ann"), layout=LAYOUT, affinity=AFFINITY, offset=number)
    return state


def test_blobs_come_in_the_order_asked_and_missing_keys_are_none(store):
    store.put("recipient", [(key, 1, 10, key.encode()) for key in ("a", "b", "c")])
    store.put("content", [("a", 1, 10, b"another entity")])

    assert store.get("recipient", ["c", "nobody", "a", "c"]) == [b"c", None, b"a", b"c"]
    assert store.get("recipient", []) == []
    assert store.get_with_times("recipient", ["b", "x"]) == [(10, b"b"), None]
    assert store.get("nothing", ["a"]) == [None]
    assert store.count("recipient") == 3
    assert store.keys("recipient", limit=2) == ["a", "b"]


def test_more_keys_than_one_query_takes(store):
    keys = [f"k{i}" for i in range(1_203)]
    store.put("recipient", [(key, 1, 1, key.encode()) for key in keys])

    asked = [*keys[::-1], "none"]
    assert store.get("recipient", asked) == [*(key.encode() for key in keys[::-1]), None]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_is_only_a_key(store, key):
    store.put("recipient", [("neighbour", 1, 1, b"n"), (key, 2, 2, b"mine")])

    assert store.get("recipient", [key, "neighbour"]) == [b"mine", b"n"]
    assert store.get_with_times("recipient", [key]) == [(2, b"mine")]


@given(st.permutations([1, 2, 3, 4, 5]), st.integers(1, 4))
def test_a_row_that_has_seen_less_never_replaces_one_that_has_seen_more(order, cut):
    with PackedStore(Path(":memory:")) as opened:
        opened.put("recipient", [("a", seen, seen * 10, bytes([seen])) for seen in order[:cut]])
        opened.put("recipient", [("a", seen, seen * 10, bytes([seen])) for seen in order[cut:]])
        assert opened.get_with_times("recipient", ["a"]) == [(50, bytes([5]))]
        opened.put("recipient", [("a", 5, 51, b"same offset, written again")])
        assert opened.get("recipient", ["a"]) == [b"same offset, written again"]


def test_a_transaction_is_stored_whole_or_not_at_all(store):
    store.put("recipient", [("a", 1, 1, b"before")])

    def broken():
        with store.writing():
            store.put("recipient", [("a", 2, 2, b"after"), ("b", 2, 2, b"new")])
            store.set_progress("stream", 2)
            assert store.get("recipient", ["a"]) == [b"after"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert store.get("recipient", ["a", "b"]) == [b"before", None]
    assert store.progress("stream") == 0
    with store.writing():
        store.put("recipient", [("a", 2, 2, b"after")])
        store.set_progress("stream", 2)
    assert store.get("recipient", ["a"]) == [b"after"]
    assert store.progress("stream") == 2


def test_readers_see_the_last_commit_while_another_thread_writes(store):
    store.put("recipient", [("a", 1, 1, b"before")])
    seen: list[bytes | None] = []
    with store.writing():
        store.put("recipient", [("a", 2, 2, b"after")])
        reader = threading.Thread(target=lambda: seen.extend(store.get("recipient", ["a"])))
        reader.start()
        reader.join()
    assert seen == [b"before"]


def test_a_failed_bulk_of_rows_leaves_none_of_them(store):
    rows = [("a", 1, 1, b"fine"), ("b", "not a number", 1, None)]
    with pytest.raises(StoreUnavailableError):
        store.put("recipient", rows)
    assert store.get("recipient", ["a", "b"]) == [None, None]


def test_clearing_forgets_states_and_progress_and_closing_is_not_forgetting(store):
    with store.writing():
        store.put("recipient", [("a", 1, 1, b"x")])
        store.set_progress("stream", 7)
    store.close()
    assert store.get("recipient", ["a"]) == [b"x"]
    store.clear()
    assert store.get("recipient", ["a"]) == [None]
    assert store.progress("stream") == 0


def test_a_newer_format_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "online.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with (
        PackedStore(path) as opened,
        pytest.raises(StoreUnavailableError, match=r"newer.*upgrade opportune"),
    ):
        opened.get("recipient", ["a"])


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"not a database, " * 100)
    for path in (tmp_path / "file", tmp_path / "file" / "below.sqlite"):
        with PackedStore(path) as opened, pytest.raises(StoreUnavailableError):
            opened.get("recipient", ["a"])


# --- packed bytes -----------------------------------------------------------------------------


def a_blob() -> bytes:
    state = state_of(1, 2, 3, 40)
    state.zone_at, state.zone_offset_min, state.zone = START, 60, "Europe/Berlin"
    return state.pack(LAYOUT)


def test_bytes_cut_short_or_run_on_are_refused():
    blob = a_blob()
    for damaged in [blob[:size] for size in range(len(blob))] + [blob + b"\0"]:
        with pytest.raises(StateUnreadableError, match="opportune materialize"):
            State.unpack(damaged, LAYOUT)


def test_bytes_of_another_version_or_layout_are_refused():
    blob = a_blob()
    other = next(layout_of(view) for view in VIEWS if layout_of(view).digest != LAYOUT.digest)
    for damaged, layout in ((bytes([99]) + blob[1:], LAYOUT), (blob, other)):
        with pytest.raises(StateUnreadableError, match="opportune materialize"):
            State.unpack(damaged, layout)


def test_no_flipped_bit_makes_anything_but_a_refusal_or_a_readable_state():
    blob = a_blob()
    n_refused = 0
    for place in range(len(blob)):
        for bit in (1, 128):
            damaged = bytearray(blob)
            damaged[place] ^= bit
            try:
                state = State.unpack(bytes(damaged), LAYOUT)
            except StateUnreadableError:
                n_refused += 1
            else:
                with np.errstate(all="ignore"):
                    read([state], START + 100 * HOUR_US, LAYOUT)
    assert n_refused > 30


# --- the stream -------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.packed import PackedStore
from features.stream import Stream

root, me = Path(sys.argv[1]), int(sys.argv[2])
START, HOUR_US = {start}, 3_600_000_000
def event(number):
    at = START + number * HOUR_US // 3
    return Event(str(number), EventType.CLICKED, f"r{{number % 7}}", at, at,
                 content_id=f"item {{number % 5}}")
mine = [event(n) for n in range(2_000) if n % 2 == me or n % 10 == 0]
with EventLog(root / "log") as log, PackedStore(root / "online.sqlite") as store:
    stream = Stream(log, store)
    print("ready", flush=True)
    sys.stdin.readline()
    for start in range(0, len(mine), 60):
        log.append(mine[start : start + 60])
        stream.catch_up()
        key = mine[start].recipient_key
        if store.get("recipient", [key]) == [None]:
            sys.exit("own event not in the next read")
"""


def test_two_processes_at_once_make_the_states_that_one_would(tmp_path):
    code = WORKER.format(start=START)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(me)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for me in (0, 1)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    ends = [worker.communicate(timeout=120) for worker in workers]
    assert [(w.returncode, err) for w, (_, err) in zip(workers, ends, strict=True)] == [(0, "")] * 2
    with EventLog(tmp_path / "log") as log, PackedStore(tmp_path / "online.sqlite") as store:
        assert log.head() == 2_000 == store.progress(PROGRESS)
        stored_is_the_batch(log, store)


def stored_is_the_batch(log: EventLog, store: PackedStore) -> None:
    at = START + 10_000 * HOUR_US
    for view, key in zip(VIEWS, ("recipient_key", "content_id"), strict=True):
        layout = layout_of(view)
        table = batch.event_table(log.scan(), key=key, layout=layout)
        keys = table.keys.to_list()
        expected = batch.read_at(table, pl.DataFrame({"key": keys, "at": at}), layout)
        blobs = store.get(view.entity, keys)
        found = read([State.unpack(blob, layout) for blob in blobs], at, layout)
        np.testing.assert_allclose(found.values, expected.values, 1e-6, 1e-29)
        np.testing.assert_array_equal(found.last, expected.last)
        assert store.count(view.entity) == len(keys)


@pytest.fixture
def log(tmp_path):
    with EventLog(tmp_path / "log") as opened:
        opened.append([event(number, f"r{number % 3}") for number in range(50)])
        yield opened


def test_other_definitions_make_the_stream_start_over_from_the_log(log, store):
    stream = Stream(log, store)
    stream.catch_up()
    with store.writing():
        store.set_progress("layout recipient", LAYOUT.digest ^ 1)
        store.put("recipient", [("r0", 10**9, 0, b"of other definitions"), ("gone", 1, 1, b"x")])

    assert stream.catch_up() == 50
    assert store.get("recipient", ["gone"]) == [None]
    stored_is_the_batch(log, store)
    assert stream.catch_up() == 0


def test_a_process_that_starts_late_does_not_undo_the_one_that_started_over(log, tmp_path):
    """The second finds the store outdated, is overtaken, and must look again before it clears."""
    path = tmp_path / "online.sqlite"

    class Overtaken(PackedStore):
        is_overtaken = False

        def progress(self, name: str) -> int:
            found = super().progress(name)
            if not self.is_overtaken:
                self.is_overtaken = True
                with PackedStore(path) as other:
                    assert Stream(log, other).catch_up() == 50
            return found

    with Overtaken(path) as mine:
        Stream(log, mine).start_over_when_redefined()
        assert mine.progress(PROGRESS) == 50
        stored_is_the_batch(log, mine)


def test_a_state_that_has_seen_more_than_the_progress_takes_no_event_twice(log, store):
    """What a bulk load leaves: states ahead of the stream's own mark."""
    stream = Stream(log, store)
    stream.catch_up()
    with store.writing():
        store.set_progress(PROGRESS, 10)
    assert stream.catch_up() == 40
    stored_is_the_batch(log, store)


def test_a_damaged_state_is_made_again_from_the_log(tmp_path):
    with EventLog(tmp_path / "log") as log, PackedStore(tmp_path / "online.sqlite") as store:
        stream = Stream(log, store)
        stamped = {"type": "clicked", "recipient_key": "r", "content_id": "c", "topics": ["t"]}
        events = [
            parse_event(
                stamped | {"event_id": str(i), "occurred_at": 1_700_000_000 + i * 7_200},
                received_at=1_800_000_000_000_000,
            )
            for i in range(6)
        ]
        log.append(events[:3])
        stream.catch_up()
        for entity, key in (("recipient", "r"), ("content", "c")):
            with store.writing():
                store._connection().execute(
                    "UPDATE states SET blob = x'0102' WHERE entity = ? AND key = ?", (entity, key)
                )
        log.append(events[3:])
        stream.catch_up()
        damaged = [store.get("recipient", ["r"]), store.get("content", ["c"])]
        store.clear()
        stream.catch_up()
        assert damaged == [store.get("recipient", ["r"]), store.get("content", ["c"])]


def test_a_robot_with_many_interests_keeps_the_strongest_and_a_bounded_row():
    layout = layout_of(RECIPIENT)
    state = State(at=1, affinity={0: 1e6} | {key: float(key) for key in range(1, 50_001)})
    blob = state.pack(layout)
    kept = State.unpack(blob, layout).affinity
    assert len(blob) < 60_000
    assert kept[0] == 1e6
    assert min(key for key in kept if key) == 50_001 - (len(kept) - 1)
    few = State(at=1, affinity={0: 3.0, 7: 2.0, 9: 1.0})
    assert State.unpack(few.pack(layout), layout).affinity == few.affinity
