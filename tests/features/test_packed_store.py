"""Contract of the packed stores, and of the stream that fills them: nothing lost, nothing twice.

Every law is tried over SQLite and over a real Redis; what only one of them promises is said.
"""

import sqlite3
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from threading import Barrier

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from features import batch
from features.definitions import AFFINITY, VIEWS
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError, StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import Event, EventType, parse_event
from features.layout import layout_of
from features.online import OnlineStore, open_store
from features.packed import FORMAT, PackedStore
from features.packed_file import open_file
from features.packed_rows import LIVES_S, Row, head_of
from features.packing import SEEN_AT, pack, unpack
from features.reading import read
from features.state import State
from features.stream import KEY_FIELDS, PROGRESS, Stream
from tests.features.oracle import read_for

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


DAY_US = 24 * HOUR_US


@pytest.fixture(params=["sqlite", "redis"])
def address(request, tmp_path):
    """Where an empty store may be: to be opened by as many threads and processes as one likes."""
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return str(tmp_path / "online.sqlite")


@pytest.fixture
def store(address):
    with open_store(address) as opened:
        yield opened


@pytest.fixture
def sqlite_store(tmp_path):
    with PackedStore(tmp_path / "online.sqlite") as opened:
        yield opened


def row(key: str, seen: int, text: bytes = b"", newest: int = START) -> Row:
    """A row whose blob has a head like a packed state and any text as its body."""
    return key, seen, newest, bytes(SEEN_AT) + struct.pack("<qq", seen, newest) + text


def blob(seen: int, text: bytes = b"", newest: int = START) -> bytes:
    return row("", seen, text, newest)[3]


def arrow(rows: list[Row]) -> pa.Table:
    return pa.table({"key": [r[0] for r in rows], "blob": [r[3] for r in rows]})


def event(number: int, recipient: str, kind: EventType = EventType.CLICKED) -> Event:
    at = START + number * HOUR_US // 3
    item, told = f"item {number % 5}", {"country": ("DE", "IS")[number % 2]}
    return Event(str(number), kind, recipient, at, at, content_id=item, properties=told)


def state_of(*numbers: int) -> State:
    state = State()
    for number in numbers:
        state.apply(event(number, "ann"), layout=LAYOUT, affinity=AFFINITY, offset=number)
    return state


def test_blobs_come_in_the_order_asked_and_missing_keys_are_none(store):
    a, b, c = (row(key, 1, key.encode()) for key in ("a", "b", "c"))
    store.put("recipient", [a, b, c])
    store.put("content", [row("a", 1, b"another entity")])

    assert store.get("recipient", ["c", "nobody", "a", "c"]) == [c[3], None, a[3], c[3]]
    assert store.get("recipient", []) == []
    assert store.get_with_times("recipient", ["b", "x"]) == [(START, b[3]), None]
    assert store.get("nothing", ["a"]) == [None]
    assert store.count("recipient") == 3
    assert store.keys("recipient", limit=2) == ["a", "b"]


def test_more_keys_than_one_query_takes(store):
    keys = [f"k{i}" for i in range(1_203)]
    store.put("recipient", [row(key, 1, key.encode()) for key in keys])

    asked = [*keys[::-1], "none"]
    assert store.get("recipient", asked) == [*(blob(1, key.encode()) for key in keys[::-1]), None]
    assert store.count("recipient") == len(keys)
    assert store.keys("recipient", limit=5) == sorted(keys)[:5]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_is_only_a_key(store, key):
    store.put("recipient", [row("neighbour", 1), row(key, 2, b"mine", START + 2)])

    assert store.get("recipient", [key, "neighbour"]) == [blob(2, b"mine", START + 2), blob(1)]
    assert store.get_with_times("recipient", [key]) == [(START + 2, blob(2, b"mine", START + 2))]
    assert store.erase("recipient", key)
    assert store.get("recipient", [key, "neighbour"]) == [None, blob(1)]


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_row_that_has_seen_less_never_replaces_one_that_has_seen_more(store, cut):
    for number, order in enumerate(permutations([0, 1, 2, 2**31, 2**40])):
        key = f"k{number}"
        rows = [row(key, seen, newest=START + seen) for seen in order]
        store.put("recipient", rows[:cut])
        store.load("recipient", arrow(rows[cut:]))
        most = START + 2**40
        assert store.get_with_times("recipient", [key]) == [(most, blob(2**40, newest=most))]
    store.put("recipient", [row("k0", 2**40, b"same offset, written again")])
    assert store.get("recipient", ["k0"]) == [blob(2**40, b"same offset, written again")]


@pytest.mark.parametrize("n_rows", [0, 1, 499, 500, 501, 1_203])
def test_a_bulk_load_stores_what_single_puts_would_and_counts_it(store, n_rows):
    ahead = {f"k{i}" for i in range(0, n_rows, 7)}
    store.put("recipient", [row(key, 10, b"ahead") for key in sorted(ahead)])
    rows = [row(f"k{i}", 5, b"loaded") for i in range(n_rows)]

    assert store.load("recipient", arrow(rows)) == n_rows - len(ahead)
    expected = [blob(10, b"ahead") if r[0] in ahead else r[3] for r in rows]
    assert store.get("recipient", [r[0] for r in rows]) == expected
    assert store.load("recipient", arrow(rows).to_batches(max_chunksize=100)) == n_rows - len(ahead)


def test_rows_to_load_need_both_columns_and_no_nulls(store):
    for columns in ({"key": ["a"]}, {"key": ["a", None], "blob": [b"x", b"y"]}):
        with pytest.raises(ValueError, match=r"`key`.*`blob`"):
            store.load("recipient", pa.table(columns))
    assert store.count("recipient") == 0


def test_an_erased_key_is_gone_and_its_neighbours_are_untouched(store):
    store.put("recipient", [row("ann", 1), row("anna", 2), row("an", 3)])
    store.put("content", [row("ann", 4)])

    assert store.erase("recipient", "ann")
    assert not store.erase("recipient", "ann")
    assert not store.erase("recipient", "nobody")
    assert store.get("recipient", ["an", "ann", "anna"]) == [blob(3), None, blob(2)]
    assert store.get("content", ["ann"]) == [blob(4)]
    store.put("recipient", [row("ann", 1, b"a new life")])
    assert store.get("recipient", ["ann"]) == [blob(1, b"a new life")]


def test_what_has_outlived_its_time_is_missing_and_what_has_not_is_told_its_age(store):
    store.put("recipient", [row("old", 9, newest=START), row("young", 9, newest=START + DAY_US)])
    life_us = round(LIVES_S["recipient"] * 1_000_000)
    both = [(START, blob(9)), (START + DAY_US, blob(9, newest=START + DAY_US))]
    for now, found in (
        (None, both),
        (START + life_us, both),
        (START + life_us + 1, [None, both[1]]),
        (START + life_us + DAY_US + 1, [None, None]),
    ):
        assert store.get_with_times("recipient", ["old", "young"], now=now) == found
        blobs = [None if pair is None else pair[1] for pair in found]
        assert store.get("recipient", ["old", "young"], now=now) == blobs


def test_a_state_that_is_too_short_to_tell_its_age_is_handed_on_to_whoever_unpacks_it(store):
    store.put("recipient", [("cut", 1, START, b"\x01")])
    assert store.get("recipient", ["cut"], now=START) == [b"\x01"]
    store.put("recipient", [row("cut", 1, b"healed")])
    assert store.get("recipient", ["cut"]) == [blob(1, b"healed")]


def test_progress_goes_forward_only(store):
    assert store.progress("stream") == 0
    for offset, expected in ((7, 7), (3, 7), (7, 7), (2**40, 2**40), (9, 2**40)):
        with store.writing():
            store.set_progress("stream", offset)
            assert store.progress("stream") == expected
        assert store.progress("stream") == expected
    assert store.progress("another") == 0
    store.clear()
    with store.writing():
        store.set_progress("stream", 2)
    assert store.progress("stream") == 2


def test_a_transaction_of_sqlite_is_stored_whole_or_not_at_all(sqlite_store):
    store = sqlite_store
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


def test_readers_of_sqlite_see_the_last_commit_while_another_thread_writes(sqlite_store):
    store = sqlite_store
    store.put("recipient", [("a", 1, 1, b"before")])
    seen: list[bytes | None] = []
    with store.writing():
        store.put("recipient", [("a", 2, 2, b"after")])
        reader = threading.Thread(target=lambda: seen.extend(store.get("recipient", ["a"])))
        reader.start()
        reader.join()
    assert seen == [b"before"]


def test_a_failed_bulk_of_rows_leaves_none_of_them_in_sqlite(sqlite_store):
    store = sqlite_store
    rows = [("a", 1, 1, b"fine"), ("b", "not a number", 1, None)]
    with pytest.raises(StoreUnavailableError):
        store.put("recipient", rows)
    assert store.get("recipient", ["a", "b"]) == [None, None]


def test_clearing_forgets_states_and_progress_and_closing_is_not_forgetting(store, address):
    with store.writing():
        store.put("recipient", [row("a", 1)])
        store.set_progress("stream", 7)
    store.close()
    assert store.get("recipient", ["a"]) == [blob(1)]
    with open_store(address) as other:
        assert other.get("recipient", ["a"]) == [blob(1)]
        store.clear()
        for each in (store, other):
            assert each.get("recipient", ["a"]) == [None]
            assert (each.progress("stream"), each.count("recipient")) == (0, 0)
        store.put("recipient", [row("a", 0, b"after")])
        assert other.get("recipient", ["a"]) == [blob(0, b"after")]


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


def test_a_file_of_an_older_format_is_made_anew(tmp_path):
    path = tmp_path / "online.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE states (entity, key, seen, at, blob)")
        connection.execute("INSERT INTO states VALUES ('recipient', 'a', 1, 1, x'00')")
        connection.execute("CREATE TABLE progress (name TEXT PRIMARY KEY, offset INTEGER)")
        connection.execute("INSERT INTO progress VALUES ('stream', 9)")
        connection.execute(f"PRAGMA user_version = {FORMAT - 1}")
    connection.close()
    with PackedStore(path) as opened:
        assert (opened.progress("stream"), opened.get("recipient", ["a"])) == (0, [None])
        opened.put("recipient", [row("a", 4)])
        opened.set_progress("stream", 4)
    with PackedStore(path) as opened:
        assert (opened.progress("stream"), opened.get("recipient", ["a"])) == (4, [blob(4)])


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"not a database, " * 100)
    for path in (tmp_path / "file", tmp_path / "file" / "below.sqlite"):
        with PackedStore(path) as opened, pytest.raises(StoreUnavailableError):
            opened.get("recipient", ["a"])


# --- packed bytes -----------------------------------------------------------------------------


def a_blob() -> bytes:
    state = state_of(1, 2, 3, 40)
    state.zone_at, state.zone_offset_min, state.zone = START, 60, "Europe/Berlin"
    return pack(state, LAYOUT)


def test_bytes_cut_short_or_run_on_are_refused():
    blob = a_blob()
    for damaged in [blob[:size] for size in range(len(blob))] + [blob + b"\0"]:
        with pytest.raises(StateUnreadableError, match="opportune materialize"):
            unpack(damaged, LAYOUT)


def test_bytes_of_another_version_or_layout_are_refused():
    blob = a_blob()
    other = next(layout_of(view) for view in VIEWS if layout_of(view).digest != LAYOUT.digest)
    for damaged, layout in ((bytes([99]) + blob[1:], LAYOUT), (blob, other)):
        with pytest.raises(StateUnreadableError, match="opportune materialize"):
            unpack(damaged, layout)


def test_no_flipped_bit_makes_anything_but_a_refusal_or_a_readable_state():
    blob = a_blob()
    n_refused = 0
    for place in range(len(blob)):
        for bit in (1, 128):
            damaged = bytearray(blob)
            damaged[place] ^= bit
            try:
                state = unpack(bytes(damaged), LAYOUT)
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
from features.online import open_store
from features.stream import Stream

root, me = Path(sys.argv[1]), int(sys.argv[2])
START, HOUR_US = {start}, 3_600_000_000
def event(number):
    at = START + number * HOUR_US // 3
    return Event(str(number), EventType.CLICKED, f"r{{number % 7}}", at, at,
                 content_id=f"item {{number % 5}}", properties={{"country": "DE"}})
mine = [event(n) for n in range(2_000) if n % 2 == me or n % 10 == 0]
with EventLog(root / "log") as log, open_store(sys.argv[3]) as store:
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


def test_whoever_makes_the_file_at_the_same_moment_waits_for_the_others(tmp_path):
    for number in range(60):
        file, together = tmp_path / f"{number}.sqlite", Barrier(4)

        def opened(file=file, together=together):
            together.wait()
            open_file(file, busy_timeout_ms=10_000).close()

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(opened) for _ in range(4)]:
                done.result()


def test_two_processes_at_once_make_the_states_that_one_would(tmp_path, address):
    code = WORKER.format(start=START)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(me), address],
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
    with EventLog(tmp_path / "log") as log, open_store(address) as store:
        assert log.head() == 2_000 == store.progress(PROGRESS)
        stored_is_the_batch(log, store)


def stored_is_the_batch(log: EventLog, store: OnlineStore) -> None:
    at = START + 10_000 * HOUR_US
    for view in VIEWS:
        layout, key = layout_of(view), KEY_FIELDS[view.entity]
        table = batch.event_table(read_for(view, log.scan()), key=key, layout=layout)
        keys = table.keys.to_list()
        expected = batch.read_at(table, pl.DataFrame({"key": keys, "at": at}), layout)
        blobs = store.get(view.entity, keys)
        found = read([unpack(blob, layout) for blob in blobs], at, layout)
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
    store.clear()
    with store.writing():
        store.set_progress("layout recipient", LAYOUT.digest ^ 1)
        store.put("recipient", [row("r0", 10**9, b"of other definitions"), row("gone", 1)])
        store.set_progress(PROGRESS, 50)

    assert stream.catch_up() == 50
    assert store.get("recipient", ["gone"]) == [None]
    stored_is_the_batch(log, store)
    assert stream.catch_up() == 0


def test_a_process_that_starts_late_does_not_undo_the_one_that_started_over(log, address):
    """The second finds the store outdated, is overtaken, and must look again before it clears."""
    kind = type(open_store(address))

    class Overtaken(kind):
        is_overtaken = False

        def progress(self, name: str) -> int:
            found = super().progress(name)
            if not self.is_overtaken:
                self.is_overtaken = True
                with open_store(address) as other:
                    assert Stream(log, other).catch_up() == 50
            return found

    with Overtaken(Path(address) if kind is PackedStore else address) as mine:
        Stream(log, mine).start_over_when_redefined()
        assert mine.progress(PROGRESS) == 50
        stored_is_the_batch(log, mine)


def test_a_state_that_has_seen_more_than_the_progress_takes_no_event_twice(log, store):
    """What a bulk load leaves: states ahead of the stream's own mark."""
    stream = Stream(log, store)
    stream.catch_up()
    rows = {view.entity: rows_of(store, view.entity) for view in VIEWS}
    store.clear()
    stream.start_over_when_redefined()
    with store.writing():
        for entity, held in rows.items():
            store.put(entity, held)
        store.set_progress(PROGRESS, 10)
    assert stream.catch_up() == 40
    stored_is_the_batch(log, store)


def rows_of(store: OnlineStore, entity: str) -> list[Row]:
    keys = store.keys(entity, limit=10**6)
    blobs = store.get(entity, keys)
    return [(key, *head_of(found), found) for key, found in zip(keys, blobs, strict=True)]


def test_a_damaged_state_is_made_again_from_the_log(tmp_path, store):
    with EventLog(tmp_path / "log") as log:
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
            (sound,) = store.get(entity, [key])
            damaged = sound[: SEEN_AT + 16] + b"\0" * (len(sound) - SEEN_AT - 16)
            store.put(entity, [(key, *head_of(sound), damaged)])
        log.append(events[3:])
        stream.catch_up()
        damaged = [store.get("recipient", ["r"]), store.get("content", ["c"])]
        store.clear()
        stream.catch_up()
        assert damaged == [store.get("recipient", ["r"]), store.get("content", ["c"])]


def test_a_robot_with_many_interests_keeps_the_strongest_and_a_bounded_row():
    layout = layout_of(RECIPIENT)
    state = State(at=1, affinity={0: 1e6} | {key: float(key) for key in range(1, 50_001)})
    blob = pack(state, layout)
    kept = unpack(blob, layout).affinity
    assert len(blob) < 60_000
    assert kept[0] == 1e6
    assert min(key for key in kept if key) == 50_001 - (len(kept) - 1)
    few = State(at=1, affinity={0: 3.0, 7: 2.0, 9: 1.0})
    assert unpack(pack(few, layout), layout).affinity == few.affinity
