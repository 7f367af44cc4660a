"""Laws of bulk materialization: what the stream does, at any time, as often as one likes."""

import sqlite3
import threading
from functools import partial

import numpy as np
import pytest

from features.assemble import activity, matrix
from features.definitions import AFFINITY, VIEWS
from features.events.log import EventLog
from features.events.schema import DAY_US, HOUR_US, Event, EventType
from features.feast_store import FeastStore
from features.layout import layout_of
from features.packed import PackedStore
from features.packing import unpack
from features.reading import read
from features.stream import PROGRESS, Stream
from pipelines.materialize import materialize

START = 1_700_000_000_000_000
LATER = START + 90 * DAY_US
KINDS = ("sent", "clicked", "product_viewed", "purchased", "opened")


def events(n, *, first=0):
    return [
        Event(
            f"e{i}", EventType(KINDS[i % 5]), f"r{i % 23}", START + i * HOUR_US // 7,
            START + i * HOUR_US // 7, content_id=f"c{i % 5}", topics=(f"t{i % 3}",),
            utc_offset_min=60, value=float(i % 9),
        )
        for i in range(first, first + n)
    ]  # fmt: skip


class Place:
    def __init__(self, root):
        self.root = root
        self.log = EventLog(root / "events")
        self.store = PackedStore(root / "online.sqlite")
        self.feast = FeastStore(root / "feast", online=root / "online.sqlite")
        self.stream = Stream(self.log, self.store)

    def run(self, step=lambda _: None):
        return materialize(log=self.log, feast=self.feast, store=self.store, step=step)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.log.close()
    place.store.close()


def held(store):
    """Every state as numbers, and how far the log is in it."""
    found = {"progress": store.progress(PROGRESS)}
    for view in VIEWS:
        keys = store.keys(view.entity, limit=10**6)
        for key, blob in zip(keys, store.get(view.entity, keys), strict=True):
            found[view.entity, key] = unpack(blob, layout_of(view))
    return found


def same(one, other):
    """The same keys, progress and numbers; at which moment sums are kept is nobody's business."""
    assert one.keys() == other.keys()
    assert one["progress"] == other["progress"]
    for view in VIEWS:
        keys = [key for key in one if key[0] == view.entity]
        layout = layout_of(view)
        for key in keys:
            a, b = one[key], other[key]
            assert (a.seen, a.hours, a.zone) == (b.seen, b.hours, b.zone)
            for topic in a.affinity.keys() | b.affinity.keys():
                left = b.affinity_at(topic, LATER, AFFINITY)
                assert a.affinity_at(topic, LATER, AFFINITY) == pytest.approx(left, abs=1e-9)
        readings = [read([states[key] for key in keys], LATER, layout) for states in (one, other)]
        for made in (partial(matrix, view=view), partial(activity, layout=layout)):
            np.testing.assert_allclose(*(made(reading) for reading in readings), atol=1e-6)


def streamed(place, tmp_path):
    with PackedStore(tmp_path / "streamed.sqlite") as store:
        Stream(place.log, store).catch_up()
        return held(store)


def test_it_is_what_the_stream_does_and_repeating_changes_nothing(place, tmp_path):
    place.log.append(events(700))
    done = place.run()
    assert done.offset == 700
    first = held(place.store)
    same(first, streamed(place, tmp_path))
    again = place.run()
    assert (again.states, again.offset, again.compacted) == (done.states, 700, 0)
    assert held(place.store) == first
    assert place.stream.catch_up() == 0


@pytest.mark.parametrize("folds", [True, False], ids=["service", "import"])
def test_events_that_arrive_meanwhile_are_neither_lost_nor_doubled(place, tmp_path, folds):
    place.log.append(events(500))
    coming = iter(range(500, 10**6, 20))

    def arrive(_):
        """At every step of it the service takes a call, or an import goes on."""
        place.log.append(events(20, first=next(coming)))
        if folds:
            place.stream.catch_up()

    place.run(arrive)
    place.stream.catch_up()
    assert place.store.progress(PROGRESS) == place.log.head() > 500
    same(held(place.store), streamed(place, tmp_path))


def test_a_service_that_takes_events_at_the_same_time_is_not_disturbed(place, tmp_path):
    place.log.append(events(500))
    stop, taken = threading.Event(), []

    def serve():
        with (
            EventLog(place.root / "events") as log,
            PackedStore(place.root / "online.sqlite") as store,
        ):
            stream = Stream(log, store)
            while not stop.is_set() and len(taken) < 100:
                log.append(events(10, first=500 + 10 * len(taken)))
                stream.catch_up()
                taken.append(log.head() == store.progress(PROGRESS) or log.head())

    service = threading.Thread(target=serve)
    service.start()
    try:
        place.run()
        place.run()
    finally:
        stop.set()
        service.join(30)
    assert taken
    place.stream.catch_up()
    assert place.log.head() == 500 + 10 * len(taken)
    same(held(place.store), streamed(place, tmp_path))


def test_states_of_other_definitions_are_made_again(place, tmp_path):
    place.log.append(events(300))
    place.run()
    with sqlite3.connect(place.root / "online.sqlite") as connection:
        connection.execute("UPDATE progress SET offset = 1 WHERE name LIKE 'layout %'")
        connection.execute("UPDATE states SET blob = x'0102', seen = 999999 WHERE key LIKE 'r1%'")
        connection.execute("INSERT INTO states VALUES ('recipient', 'ghost', 1, 1, x'00')")
    connection.close()
    place.run()
    same(held(place.store), streamed(place, tmp_path))


def test_damaged_states_are_healed(place, tmp_path):
    place.log.append(events(300))
    place.run()
    with sqlite3.connect(place.root / "online.sqlite") as connection:
        connection.execute("UPDATE states SET blob = x'00'")
    connection.close()
    place.run()
    same(held(place.store), streamed(place, tmp_path))


def test_an_empty_log_puts_nothing_online(place):
    done = place.run()
    assert (done.offset, set(done.states.values())) == (0, {0})
    assert place.store.count("recipient") == 0
    assert place.feast.view_names()
