"""Many packed states read at once are what each is by itself, bit for bit."""

import numpy as np
import pytest

from features.definitions.recipient import VIEW
from features.errors import StateUnreadableError
from features.layout import layout_of
from features.online import open_store
from features.packing import HEADER, pack, unpack
from features.reading import stack
from features.state import State
from features.unpacked import unpacked

LAYOUT = layout_of(VIEW)


@pytest.fixture(scope="module")
def blobs(small_world):
    with open_store(small_world.data_dir / "online.sqlite") as store:
        found = store.get(VIEW.entity, [*small_world.people[:150], "nobody"])
    return [*found, pack(State(), LAYOUT), *found[:3]]


def test_many_at_once_are_as_each_alone(blobs):
    each = [None if blob is None else unpack(blob, LAYOUT) for blob in blobs]
    many = unpacked(blobs, LAYOUT)
    found, expected = many.stack.lying, stack(each, LAYOUT).lying
    for name in ("at", "values", "last", "first", "bits", "week"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
    for one, alone in zip(many.states, each, strict=True):
        assert (one is None) == (alone is None)
        for name in ("at", "newest", "zone_at", "zone_offset_min", "zone", "affinity"):
            assert one is None or getattr(one, name) == getattr(alone, name), name
    assert sum(one is not None and one.zone != "" for one in many.states) > 20


@pytest.mark.parametrize("spoilt", [slice(8), slice(-8), slice(HEADER.size)])
def test_one_that_cannot_be_read_is_told(blobs, spoilt):
    with pytest.raises(StateUnreadableError, match="materialize"):
        unpacked([*blobs, blobs[0][spoilt]], LAYOUT)
