"""Laws of the Feast door: rows come back at their own moments, states as the store holds them."""

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest

from features.bulk_states import states
from features.definitions import AFFINITY, VIEWS
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.feast_objects import (
    AFFINITY_VIEW,
    COHORT_VIEW,
    HISTORY,
    RHYTHM_VIEW,
    STATE_FIELDS,
    source_file,
)
from features.feast_store import FeastStore
from features.layout import layout_of
from features.packed import PackedStore
from features.packing import pack, unpack
from features.state import State
from features.stream import Stream

START = 1_700_000_000_000_000
SECOND_US, HOUR_US = 1_000_000, 3_600_000_000
MODELS = ("churn", "content_preference", "send_time")
NAME = "clicked_hl7d"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("feast")


@pytest.fixture(scope="module")
def feast(folder):
    store = FeastStore(folder / "feast", online=folder / "online.sqlite")
    store.apply()
    return store


@pytest.fixture(scope="module")
def log(folder):
    kinds = list(EventType)
    events = [
        Event(
            str(n), kinds[n % len(kinds)], f"r{n % 9}", START + n * HOUR_US, START + n * HOUR_US,
            content_id=f"i{n % 4}", topics=("red",),
        )
        for n in range(200)
    ]  # fmt: skip
    with EventLog(folder / "log") as opened:
        opened.append(events)
        yield opened


def rows_of(keys: list[str], moments: list[int], values: list[float]) -> pl.DataFrame:
    frame = pl.DataFrame({"recipient_key": keys, "at": moments})
    numbers = pl.Series(values, dtype=pl.Float32)
    return frame.with_columns(*(numbers.alias(name) for name in RECIPIENT.names))


def asked(feast: FeastStore, keys: list[str], moments: list[int]) -> list[float | None]:
    spine = pl.DataFrame({"recipient_key": keys, "at": moments})
    frame = feast.training_frame(spine, [f"{RECIPIENT.name}:{NAME}"])
    assert frame["recipient_key"].to_list() == keys
    return frame[NAME].fill_nan(None).to_list()


def test_the_registry_holds_the_definitions_and_nothing_else(feast):
    expected = {view.name: list(view.names) for view in VIEWS}
    expected |= {name: list(view.names) for name, view in HISTORY.items()}
    expected |= {view: [field] for view, field in STATE_FIELDS.items()}
    expected |= {RHYTHM_VIEW: ["rhythm"], AFFINITY_VIEW: [name for name, _ in AFFINITY_FEATURES]}
    expected |= {COHORT_VIEW: [name for name, _ in COHORT_FEATURES]}

    found = {
        view.name: [field.name for field in view.features]
        for view in feast._feast.list_feature_views()
    }
    assert found == expected
    assert feast.view_names() == sorted(expected)


def test_every_model_has_a_service_that_holds_its_inputs(feast):
    services = {service.name: service for service in feast._feast.list_feature_services()}
    names = [f"{name}{when}_v1" for name, when in product(MODELS, ("", "_now"))]
    assert sorted(services) == sorted(names)
    # features does not know models, the test does
    from models.spec import RHYTHM_NAMES  # noqa: PLC0415
    from models.specs import SPECS  # noqa: PLC0415
    from models.specs.send_time import HAS_ZONE, IS_HIDDEN  # noqa: PLC0415

    assert sorted(spec.name for spec in SPECS) == sorted(MODELS)
    for spec, when in product(SPECS, ("", "_now")):
        held = {
            (f"content_{f.name}" if p.name in {CONTENT.name, "content_now"} else f.name)
            for p in services[f"{spec.name}{when}_v1"].feature_view_projections
            for f in p.features
        }
        # The rhythm is one list in Feast; whether the clock is known is told by the state itself,
        # and whether opens are hidden follows from a feature that is there.
        apart = {HAS_ZONE, IS_HIDDEN, *RHYTHM_NAMES}
        assert set(spec.inputs) - apart <= held


def test_applying_again_changes_nothing(feast, folder):
    feast.write_rows(RECIPIENT.name, rows_of(["a"], [START], [1.0]))
    before = source_file(RECIPIENT.name, feast.folder).read_bytes()
    names = feast.view_names()
    FeastStore(folder / "feast", online=folder / "online.sqlite").apply()

    assert feast.view_names() == names
    assert source_file(RECIPIENT.name, feast.folder).read_bytes() == before


def test_views_without_rows_join_as_missing(folder):
    empty = FeastStore(folder / "empty", online=folder / "empty.sqlite")
    empty.apply()
    assert asked(empty, ["a", "b"], [START, START]) == [None, None]


def test_the_join_gives_exactly_the_rows_written_in_the_order_asked(feast):
    rng = np.random.default_rng(1)
    keys = [f"r{i}" for i in rng.integers(0, 40, 500)]
    moments = [START + int(i) * 17 * 1_000_003 for i in rng.integers(0, 60, 500)]
    values = {pair: float(np.float32(rng.random())) for pair in zip(keys, moments, strict=True)}
    written = rows_of([k for k, _ in values], [at for _, at in values], [*values.values()])
    feast.write_rows(RECIPIENT.name, written)

    expected = [values[pair] for pair in zip(keys, moments, strict=True)]
    assert asked(feast, keys, moments) == expected
    assert asked(feast, keys[::-1], moments[::-1]) == expected[::-1]


def test_at_any_other_moment_nothing_is_joined(feast):
    feast.write_rows(RECIPIENT.name, rows_of(["a", "b"], [START, START + HOUR_US], [1.0, 2.0]))
    others = [-HOUR_US, -1, 2 * SECOND_US, HOUR_US, 400 * 24 * HOUR_US]

    assert asked(feast, ["a"] * len(others), [START + d for d in others]) == [None] * len(others)
    assert asked(feast, ["b", "a", "nobody"], [START, START, START]) == [None, 1.0, None]


def test_two_rows_within_one_second_are_told_apart(feast):
    moments = [START, START + 1, START + 400_000]
    feast.write_rows(RECIPIENT.name, rows_of(["a"] * 3, moments, [1.0, 2.0, 3.0]))

    assert asked(feast, ["a"] * 3, moments[::-1]) == [3.0, 2.0, 1.0]


def test_a_row_made_later_than_the_moment_asked_for_is_not_joined(feast):
    stamp = pl.Datetime("us", "UTC")
    rows = rows_of(["a", "b"], [START, START], [1.0, 2.0]).with_columns(
        pl.col("at").cast(stamp).alias("event_timestamp"),
        pl.Series("created", [START + 1, START]).cast(stamp),
    )
    rows.drop("at").write_parquet(source_file(RECIPIENT.name, feast.folder))

    assert asked(feast, ["a", "b"], [START, START]) == [None, 2.0]


def test_rhythms_and_features_of_pairs_come_back_whole(feast):
    weeks = np.random.default_rng(2).random((3, 168)).astype(np.float32)
    spine = pl.DataFrame({"recipient_key": ["a", "b", "c"], "at": [START, START + 5, START]})
    rhythms = pl.Series("rhythm", weeks.tolist(), dtype=pl.List(pl.Float32))
    feast.write_rows(RHYTHM_VIEW, spine.with_columns(rhythms))
    joined = feast.training_frame(spine, [f"{RHYTHM_VIEW}:rhythm"])
    np.testing.assert_array_equal(np.stack(joined["rhythm"].to_list()).astype(np.float32), weeks)

    pairs = pl.DataFrame(
        {"recipient_key": ["a", "a"], "content_id": ["x", "y"], "at": [START, START]}
    )
    names = [name for name, _ in AFFINITY_FEATURES]
    numbers = (pl.Series(name, [1.5, 2.5], dtype=pl.Float32) for name in names)
    feast.write_rows(AFFINITY_VIEW, pairs.with_columns(*numbers))
    joined = feast.training_frame(pairs[::-1], [f"{AFFINITY_VIEW}:{name}" for name in names])
    assert joined["content_id"].to_list() == ["y", "x"]
    assert all(joined[name].to_list() == [2.5, 1.5] for name in names)


def materialized(feast, log, view, key, *, events=None):
    layout = layout_of(view)
    scanned = log.scan() if events is None else events
    rows = [
        (name, state.at, pack(state, layout))
        for name, state in states(scanned, key=key, layout=layout, affinity=AFFINITY)
    ]
    schema = {key: pl.String, "at": pl.Int64, "state": pl.Binary}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    feast.materialize_states(view.entity, frame, as_of=max(at for _, at, _ in rows))
    return {name: blob for name, _, blob in rows}


@pytest.mark.parametrize(
    ("view", "key"), [(RECIPIENT, "recipient_key"), (CONTENT, "content_id")], ids=["r", "c"]
)
def test_materialized_states_are_the_same_bytes_through_either_door(feast, folder, log, view, key):
    blobs = materialized(feast, log, view, key)
    keys = [*blobs, "nobody"]

    with PackedStore(folder / "online.sqlite") as store:
        assert store.get(view.entity, keys) == [*blobs.values(), None]
        assert store.count(view.entity) == len(blobs)
        layout = layout_of(view)
        times = {k: unpack(blob, layout).newest for k, blob in blobs.items()}
        assert {k: store.get_with_times(view.entity, [k])[0][0] for k in blobs} == times
    assert feast.online_states(view.entity, keys) == [*blobs.values(), None]


def test_a_stored_state_that_has_seen_more_stays(folder, feast, log):
    with PackedStore(folder / "online.sqlite") as store:
        Stream(log, store).catch_up()
        newest = store.get("recipient", ["r0", "r1"])
        cut = log.scan().filter(pl.col("offset") <= 100)
        older = materialized(feast, log, RECIPIENT, "recipient_key", events=cut)
        assert [older["r0"], older["r1"]] != newest
        assert store.get("recipient", ["r0", "r1"]) == newest
    assert feast.online_states("recipient", ["r0", "r1"]) == newest


def test_materializing_nothing_is_fine(feast):
    schema = {"recipient_key": pl.String, "at": pl.Int64, "state": pl.Binary}
    feast.materialize_states("recipient", pl.DataFrame(schema=schema), as_of=START)


def test_feast_tells_when_the_newest_event_of_each_state_occurred(feast, folder):
    newest = START + 123_457
    with PackedStore(folder / "online.sqlite") as store:
        blob = pack(State(at=START, seen=1, newest=newest), layout_of(RECIPIENT))
        store.put("recipient", [("timed", 1, newest, blob)])
    answer = feast._feast.get_online_features(
        features=["recipient_state:recipient_packed"], entity_rows=[{"recipient_key": "timed"}]
    )
    moment = answer.proto.results[-1].event_timestamps[0].ToDatetime(UTC)
    expected = datetime.fromtimestamp(START / 1e6, UTC) + timedelta(microseconds=123_457)
    assert abs(moment - expected) < timedelta(seconds=1)
