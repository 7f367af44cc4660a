"""The same numbers three ways: Feast's online answer, Feast's training rows, and `assemble`."""

from datetime import UTC, datetime
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from feast.data_source import PushMode
from feast.errors import FeatureNameCollisionError

from features.assemble import matrix, rhythm
from features.candidates import COLD, Candidate, affinity_of
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.log import EventLog
from features.events.schema import Actor, Event, EventType
from features.feast_store import FeastStore
from features.layout import POOL, layout_of
from features.packed import PackedStore
from features.packing import pack, unpack
from features.reading import read
from features.state import State
from features.stream import Stream
from training.dataset import PointInTime

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
NOW = round(datetime.now(UTC).timestamp() * 1_000_000)  # Feast's reads expire by the wall clock
AT = NOW - DAY_US
PEOPLE, ITEMS = [f"r{n}" for n in range(7)], [f"i{n}" for n in range(4)]
KINDS = [EventType.DELIVERED, EventType.OPENED, EventType.CLICKED, EventType.PAGE_VIEWED,
         EventType.CART_ADDED, EventType.PURCHASED, EventType.SENT]  # fmt: skip
COUNTRIES = ("DE", "IS", "")
PAIRS = [name for name, _ in AFFINITY_FEATURES]


def event(n: int) -> Event:
    at = AT - (400 - n) * HOUR_US
    return Event(
        str(n), KINDS[n * 5 % 7], PEOPLE[n * n % 6], at, at, actor=list(Actor)[n % 3],
        content_id=ITEMS[n % 3], topics=(("red", "blue")[n % 2],), value=float(n % 5),
        currency="EUR", properties={"country": COUNTRIES[n % 5 % 3]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("now")
    feast = FeastStore(root / "feast", online=root / "online.sqlite")
    feast.apply()
    with EventLog(root / "log") as log, PackedStore(root / "online.sqlite") as store:
        log.append([event(n) for n in range(400)])
        Stream(log, store).catch_up()
        yield feast, log, store


def online(feast, features, rows, **more):
    answer = feast._feast.get_online_features(features=features, entity_rows=rows, **more)
    return answer.to_dict()


def numbers(answer, names, *, view=""):
    columns = [[np.nan if v is None else v for v in answer[f"{view}{name}"]] for name in names]
    return np.array(columns, np.float32).T


def states_of(store, view, keys):
    layout = layout_of(view)
    return [blob and unpack(blob, layout) for blob in store.get(view.entity, keys)]


def test_features_of_a_recipient_are_those_of_assemble_at_each_rows_own_moment(world):
    feast, _, store = world
    rows = [{"recipient_key": k, "as_of": at} for at, k in product([AT, AT + 9 * HOUR_US], PEOPLE)]
    asked = [f"recipient_now:{name}" for name in [*RECIPIENT.names, "rhythm"]]
    answer = online(feast, asked, rows)

    layout, states = layout_of(RECIPIENT), states_of(store, RECIPIENT, PEOPLE)
    readings = [read(states, at, layout) for at in (AT, AT + 9 * HOUR_US)]
    expected = np.vstack([matrix(reading, RECIPIENT) for reading in readings])
    assert np.count_nonzero(np.nan_to_num(expected)) > 200
    np.testing.assert_array_equal(numbers(answer, RECIPIENT.names), expected)
    weeks = np.vstack([rhythm(reading, layout) for reading in readings])
    assert weeks.any()
    np.testing.assert_array_equal(np.array(answer["rhythm"], np.float32), weeks)


def test_rates_of_an_item_are_shrunk_to_those_of_all_items_together(world):
    feast, _, store = world
    rows = [{"content_id": item, "as_of": AT} for item in ITEMS]
    answer = online(feast, [f"content_now:{name}" for name in CONTENT.names], rows)

    layout = layout_of(CONTENT)
    items = read(states_of(store, CONTENT, ITEMS), AT, layout)
    together = read(states_of(store, CONTENT, [POOL]), AT, layout)
    expected = matrix(items, CONTENT, together)
    assert not np.array_equal(expected, matrix(items, CONTENT), equal_nan=True)
    np.testing.assert_array_equal(numbers(answer, CONTENT.names), expected)


def test_affinities_are_those_that_serving_ranks_by(world):
    feast, _, store = world
    rows = [
        {"recipient_key": who, "content_id": item, "as_of": AT, "topics": topics}
        for who, item, topics in product(PEOPLE, ITEMS, [["red"], ["blue", "red"], None])
    ]
    answer = online(feast, [f"affinity_now:{name}" for name in PAIRS], rows)

    states = dict(zip(PEOPLE, states_of(store, RECIPIENT, PEOPLE), strict=True))
    expected = np.vstack([
        affinity_of(
            states[row["recipient_key"]],
            [Candidate(row["content_id"], tuple(row["topics"] or ()))],
            row["as_of"],
        )
        for row in rows
    ])  # fmt: skip
    assert expected.any()
    np.testing.assert_array_equal(numbers(answer, PAIRS), expected)


def test_online_numbers_are_the_training_rows_of_the_same_moment(world):
    feast, log, _ = world
    past = PointInTime(log.scan(), feast)
    spine = pl.DataFrame({"recipient_key": PEOPLE, "at": [AT] * len(PEOPLE)})
    joined = past.recipient(spine, RECIPIENT.names)
    answer = online(
        feast,
        [f"recipient_now:{name}" for name in RECIPIENT.names],
        [{"recipient_key": key, "as_of": AT} for key in PEOPLE],
    )
    np.testing.assert_allclose(numbers(answer, RECIPIENT.names), joined, rtol=1e-6, atol=1e-12)

    spine = pl.DataFrame({"content_id": ITEMS, "at": [AT] * len(ITEMS)})
    joined = past.content(spine)
    rows = [{"content_id": item, "as_of": AT} for item in ITEMS]
    answer = online(feast, [f"content_now:{name}" for name in CONTENT.names], rows)
    np.testing.assert_allclose(numbers(answer, CONTENT.names), joined, rtol=1e-6, atol=1e-12)


def test_a_cohorts_interests_are_those_of_its_training_rows(world):
    """Of who has interests nothing is asked; the stranger's country is that of a first visit."""
    feast, log, store = world
    who, items = ["new in DE", "new in IS", "new nowhere", *PEOPLE[:6]], ITEMS[:3]
    seen = [
        Event(f"new {n}", EventType.SIGNED_UP, who[n], AT - n - 1, AT - n - 1,
              properties={"country": country})
        for n, country in enumerate(COUNTRIES)
    ]  # fmt: skip
    with EventLog(log.root.parent / "longer") as longer:
        longer.append([*(event(n) for n in range(400)), *seen])
        past = PointInTime(longer.scan(), feast)
        spine = pl.DataFrame(list(product(who, items)), schema=["recipient_key", "content_id"],
                             orient="row").with_columns(at=pl.lit(AT))  # fmt: skip
        affinity = past.affinities_at(spine)
        joined = past.cohort(spine, affinity)
        np.testing.assert_array_equal(past.cohorts_at(spine, affinity), joined)
    told = [({"topics": list(past.catalogue[i])}, {"content_id": i, "as_of": AT}) for i in items]
    rows = [{"cohort": country, **a, **b} for country, (a, b) in product(COUNTRIES[:2], told)]
    names = [name for name, _ in COHORT_FEATURES]
    answer = online(feast, [f"cohort_now:{name}" for name in names], rows)
    assert (joined[[0, 3]] > 0.01).all()
    np.testing.assert_allclose(numbers(answer, names), joined[:6], rtol=1e-6, atol=1e-12)
    is_asked = ~np.isnan(joined).any(axis=1)
    assert not is_asked[6:9].any()
    assert (affinity[:, 0] >= COLD).any()
    assert not is_asked[affinity[:, 0] >= COLD].any()
    blobs = store.get("cohort", COUNTRIES)
    assert [blob is None for blob in blobs] == [False, False, True]


def test_a_models_service_answers_all_of_its_inputs_at_once_by_their_full_names(world):
    feast, _, store = world
    service = feast._feast.get_feature_service("content_preference_now_v1")
    asked = {"content_id": "i1", "cohort": "DE", "as_of": AT, "topics": None}
    rows = [{"recipient_key": key} | asked for key in PEOPLE]
    answer = online(feast, service, rows, full_feature_names=True)

    reading = read(states_of(store, RECIPIENT, PEOPLE), AT, layout_of(RECIPIENT))
    found = numbers(answer, RECIPIENT.names, view="recipient_now__")
    np.testing.assert_array_equal(found, matrix(reading, RECIPIENT))
    expected = {f"content_now__{name}" for name in CONTENT.names}
    expected |= {f"affinity_now__{name}" for name in PAIRS}
    expected |= {f"cohort_now__{name}" for name, _ in COHORT_FEATURES}
    assert expected <= answer.keys()
    with pytest.raises(FeatureNameCollisionError):  # two views count clicks
        online(feast, service, rows)


def test_an_unreadable_state_is_missing_and_an_unknown_key_is_nobody(world, caplog):
    feast, _, store = world
    store.put("recipient", [("broken", 1, NOW, b"\x00" * 40)])
    rows = [{"recipient_key": key, "as_of": AT} for key in ("broken", "nobody")]
    answer = online(feast, [f"recipient_now:{name}" for name in RECIPIENT.names], rows)
    found = numbers(answer, RECIPIENT.names)
    nobody = matrix(read([None], AT, layout_of(RECIPIENT)), RECIPIENT)[0]
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], nobody)
    assert "opportune materialize" in caplog.text


def test_a_moment_before_what_the_state_has_seen_is_missing_never_extrapolated(world, caplog):
    feast, _, _ = world
    rows = [{"recipient_key": "r0", "as_of": at} for at in (AT, AT - 90 * DAY_US)]
    answer = online(feast, [f"recipient_now:{name}" for name in RECIPIENT.names], rows)
    found = numbers(answer, RECIPIENT.names)
    assert np.nan_to_num(found[0]).any()
    assert np.isnan(found[1]).all()
    assert "training rows" in caplog.text


@pytest.fixture
def pushed(tmp_path, request):
    address = tmp_path / "online.sqlite"
    if request.param == "redis":
        address = request.getfixturevalue("redis_url")
    feast = FeastStore(tmp_path / "feast", online=address)
    feast.apply()

    def push(source: str, column: str, keys: dict[str, list[str]], state: State, view) -> None:
        stamp = pd.Timestamp(state.newest, unit="us", tz="UTC")
        blob = pack(state, layout_of(view))
        row = pd.DataFrame({**keys, column: [blob], "event_timestamp": [stamp], "created": [stamp]})
        feast._feast.push(source, row, to=PushMode.ONLINE)

    return feast, push


@pytest.mark.parametrize("pushed", ["sqlite", "redis"], indirect=True)
def test_a_pushed_state_is_in_the_next_read_unless_the_stored_one_has_seen_more(pushed):
    feast, push = pushed
    layout = layout_of(RECIPIENT)
    older, newer = (State(at=AT, seen=seen, newest=AT, slots={0: 1.0 * seen}) for seen in (3, 9))
    for state in (newer, older):
        keys = {"recipient_key": ["r0"]}
        push("recipient_state_push", "recipient_packed", keys, state, RECIPIENT)
    assert feast.online_states("recipient", ["r0"]) == [pack(newer, layout)]
    asked = [f"recipient_now:{name}" for name in RECIPIENT.names]
    answer = online(feast, asked, [{"recipient_key": "r0", "as_of": AT}])
    expected = matrix(read([newer], AT, layout), RECIPIENT)
    np.testing.assert_array_equal(numbers(answer, RECIPIENT.names), expected)


@pytest.mark.parametrize("pushed", ["sqlite"], indirect=True)
def test_the_state_of_all_items_is_pushed_without_a_key(pushed):
    feast, push = pushed
    state = State(at=AT, seen=4, newest=AT, slots={1: 5.0})
    push("content_pool_state_push", "content_pool_packed", {}, state, CONTENT)
    assert feast.online_states("content", [POOL]) == [pack(state, layout_of(CONTENT))]


def test_views_of_training_rows_are_not_online_and_say_where_to_ask(world):
    feast, _, _ = world
    with pytest.raises(ValueError, match="recipient_now"):
        online(feast, [f"recipient_features:{RECIPIENT.names[0]}"], [{"recipient_key": "r0"}])
