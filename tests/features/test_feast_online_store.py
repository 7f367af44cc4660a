"""Feast's own reads and writes over either packed store."""

from datetime import UTC, datetime

import polars as pl
import pytest

from features.definitions.recipient import VIEW as RECIPIENT
from features.feast_store import FeastStore
from features.layout import layout_of
from features.online import open_store
from features.packed_rows import LIVES_S
from features.packing import pack
from features.state import State

LAYOUT = layout_of(RECIPIENT)
NOW = round(datetime.now(UTC).timestamp() * 1_000_000)
HOUR_US = 3_600_000_000


@pytest.fixture(params=["sqlite", "redis"])
def address(request, tmp_path):
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return str(tmp_path / "online.sqlite")


@pytest.fixture
def feast(tmp_path, address):
    store = FeastStore(tmp_path / "feast", online=address)
    store.apply()
    return store


def frame(states: dict[str, State]) -> pl.DataFrame:
    rows = [(key, state.at, pack(state, LAYOUT)) for key, state in states.items()]
    schema = {"recipient_key": pl.String, "at": pl.Int64, "state": pl.Binary}
    return pl.DataFrame(rows, schema=schema, orient="row")


def times_of(feast: FeastStore, keys: list[str]) -> list[datetime]:
    answer = feast._feast.get_online_features(
        features=["recipient_state:recipient_packed"],
        entity_rows=[{"recipient_key": key} for key in keys],
    )
    return [stamp.ToDatetime(UTC) for stamp in answer.proto.results[-1].event_timestamps]


def test_what_feast_materializes_is_what_the_store_serves_with_the_time_of_the_newest_event(
    feast, address
):
    hours = {"ann": 5, "bob": 2_000}
    states = {
        key: State(at=NOW - 3_000 * HOUR_US, seen=9, newest=NOW - n * HOUR_US)
        for key, n in hours.items()
    }
    rows = frame(states)
    feast.materialize_states("recipient", rows, as_of=NOW)

    with open_store(address) as store:
        assert store.get("recipient", ["ann", "bob"]) == rows["state"].to_list()
        assert store.get_with_times("recipient", ["bob"])[0][0] == states["bob"].newest
    assert feast.online_states("recipient", ["bob", "nobody", "ann"]) == [
        rows["state"][1], None, rows["state"][0],
    ]  # fmt: skip
    found = times_of(feast, ["ann", "bob"])
    for moment, state in zip(found, states.values(), strict=True):
        assert abs(moment.timestamp() - state.newest / 1e6) < 1


def test_a_state_beyond_its_time_to_live_is_missing_for_feast_too(feast, address):
    life_us = round(LIVES_S["recipient"] * 1_000_000)
    old = State(at=NOW, seen=9, newest=NOW - life_us - HOUR_US)
    young = State(at=NOW, seen=9, newest=NOW - life_us + HOUR_US)
    rows = frame({"old": old, "young": young})
    feast.materialize_states("recipient", rows, as_of=NOW)
    assert feast.online_states("recipient", ["old", "young"]) == [None, rows["state"][1]]
    with open_store(address) as store:
        assert store.get("recipient", ["old"]) == [rows["state"][0]]


def test_a_stored_state_that_has_seen_more_of_the_log_stays(feast):
    ahead, behind = (frame({"ann": State(at=NOW, seen=seen, newest=NOW)}) for seen in (9, 8))
    feast.materialize_states("recipient", ahead, as_of=NOW)
    feast.materialize_states("recipient", behind, as_of=NOW)
    assert feast.online_states("recipient", ["ann"]) == ahead["state"].to_list()


def test_an_address_with_a_password_is_written_into_no_file(tmp_path, redis_process):
    address = f"redis://:s3cret@127.0.0.1:{redis_process.port}/0"
    feast = FeastStore(tmp_path / "feast", online=address)
    feast.apply()
    assert feast._feast.config.online_store.address == address
    written = [file for file in (tmp_path / "feast").rglob("*") if file.is_file()]
    assert len(written) > 1
    assert [file.name for file in written if b"s3cret" in file.read_bytes()] == []
