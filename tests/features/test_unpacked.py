"""Many packed states read at once are what each is by itself, bit for bit."""

import numpy as np
import pytest

from features.definitions.affinity import AFFINITY
from features.definitions.recipient import VIEW
from features.errors import StateUnreadableError
from features.events.schema import DAY_US, HOUR_US
from features.interests import OfStates
from features.layout import layout_of
from features.online import open_store
from features.packing import HEADER, pack, unpack
from features.reading import stack
from features.state import TOTAL_KEY, State
from features.unpacked import unpacked

LAYOUT = layout_of(VIEW)


@pytest.fixture(scope="module")
def blobs(small_world):
    with open_store(small_world.data_dir / "online.sqlite") as store:
        found = store.get(VIEW.entity, [*small_world.people[:150], "nobody"])
    return [*found, pack(State(), LAYOUT), *found[:3]]


def test_many_at_once_are_as_each_alone(blobs, small_world):
    each = [None if blob is None else unpack(blob, LAYOUT) for blob in blobs]
    many = unpacked(blobs, LAYOUT)
    at = small_world.now + HOUR_US
    found, expected = many.stack.read(at, LAYOUT), stack(each, LAYOUT).read(at, LAYOUT)
    for name in ("at", "values", "last", "first", "bits", "week"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
    for one, alone in zip(many.states, each, strict=True):
        assert (one is None) == (alone is None)
        for name in ("at", "newest", "zone_at", "zone_offset_min", "zone", "profile"):
            assert one is None or getattr(one, name) == getattr(alone, name), name
    assert sum(one is not None and one.zone != "" for one in many.states) > 20


def test_interests_of_many_at_once_are_those_of_each_alone(blobs, small_world):
    each = [None if blob is None else unpack(blob, LAYOUT) for blob in blobs]
    many, alone = unpacked(blobs, LAYOUT).interests, OfStates(each)
    known = [key for state in each if state is not None for key in state.affinity]
    keys = [TOTAL_KEY, *known[:40], 3, *known[:5]]  # one that nobody has, and some twice
    for at in (small_world.now, small_world.now + 900 * DAY_US):
        expected = alone.sums(keys, at, AFFINITY)
        assert np.array_equal(many.sums(keys, at, AFFINITY), expected)
        rows = [4, 151, 0, len(blobs) - 1, 4]
        assert np.array_equal(many.some(rows).sums(keys, at, AFFINITY), expected[rows])
        gone = many.without([0, 3, 150]).sums(keys, at, AFFINITY)
        expected[[0, 3, 150]] = 0.0
        assert np.array_equal(gone, expected)
    assert (many.sums(keys, small_world.now, AFFINITY) > 0).sum() > 200


def test_who_is_left_out_reads_like_nobody(blobs, small_world):
    at, gone = small_world.now + HOUR_US, [2, 7, 151]
    each = [None if blob is None else unpack(blob, LAYOUT) for blob in blobs]
    left = [None if row in gone else state for row, state in enumerate(each)]
    expected = stack(left, LAYOUT).read(at, LAYOUT)
    for told in (stack(each, LAYOUT), unpacked(blobs, LAYOUT).stack):
        found = told.without(gone).read(at, LAYOUT)
        for name in ("values", "last", "first", "bits", "week"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("spoilt", [slice(8), slice(-8), slice(HEADER.size)])
def test_one_that_cannot_be_read_is_told(blobs, spoilt):
    with pytest.raises(StateUnreadableError, match="materialize"):
        unpacked([*blobs, blobs[0][spoilt]], LAYOUT)
