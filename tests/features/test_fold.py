"""Many states at once are the same states: the bytes, and what a batch of events makes of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.block import decode, encode
from features.definitions import AFFINITY, VIEWS
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import Event, EventType
from features.fold import fold, told
from features.layout import layout_of
from features.packing import MAX_TASTES, SEEN_AT, pack, unpack
from features.state import TOTAL_KEY, State
from tests.features.oracle import (
    CLOSE,
    DAY_US,
    FAR,
    HOUR_US,
    KEY_OF,
    MONTH,
    NIGHTS,
    YEARS,
    alike,
    applied,
    end_of,
    histories,
)

VIEW = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.entity)
PARTS = st.lists(st.integers(0, 30), max_size=3)


@VIEW
@settings(max_examples=60)
@given(events=YEARS)
def test_states_survive_the_columns_byte_by_byte(view, events):
    layout = layout_of(view)
    blobs = [pack(state, layout) for state in applied(events, view).values()]
    block, bad = decode([*blobs, None], layout)
    assert bad == []
    assert encode(block, layout) == [*blobs, pack(State(), layout)]


@VIEW
@settings(max_examples=120)
@given(events=YEARS | MONTH | histories(FAR), cuts=PARTS, random=st.randoms())
def test_batches_of_events_make_the_states_that_one_by_one_makes(view, events, cuts, random):
    layout, key_of = layout_of(view), KEY_OF[view.entity]
    entries = [(i + 1, e) for i, e in enumerate(random.sample(events, len(events)))]
    keys = sorted({getattr(e, key_of) for e in events})
    scalar = {key: State() for key in keys}
    for offset, event in entries:
        state = scalar[getattr(event, key_of)]
        state.apply(event, layout=layout, affinity=AFFINITY, offset=offset)
    blobs: list[bytes | None] = [None] * len(keys)
    edges = [0, *sorted(cuts), len(entries)]
    for start, end in pairwise(edges):
        block, bad = decode(blobs, layout)
        assert bad == []
        part = entries[max(start - 2, 0) : end]  # some are told again: their offsets were seen
        rows = np.array([keys.index(getattr(e, key_of)) for _, e in part], np.int64)
        blobs = [*encode(fold(block, rows, told(part), layout, AFFINITY), layout)]
    for key, blob in zip(keys, blobs, strict=True):
        alike(unpack(blob or pack(State(), layout), layout), scalar[key], end_of(events), layout)


@settings(max_examples=60)
@given(st.lists(CLOSE, min_size=2, max_size=6), st.integers(33, 37))
def test_hours_around_the_edge_of_memory_are_counted_alike(moments, days):
    """The order within a batch decides whether an old hour is still remembered."""
    layout = layout_of(RECIPIENT)
    shifted = [at + (i % 2) * days * DAY_US for i, at in enumerate(moments)]
    entries = [
        (i + 1, Event(str(i), EventType.PAGE_VIEWED, "ann", at, at)) for i, at in enumerate(shifted)
    ]
    state = State()
    for offset, event in entries:
        state.apply(event, layout=layout, affinity=AFFINITY, offset=offset)
    block, _ = decode([None], layout)
    rows = np.zeros(len(entries), np.int64)
    found = encode(fold(block, rows, told(entries), layout, AFFINITY), layout)
    alike(unpack(found[0], layout), state, max(shifted) + HOUR_US, layout)


def test_bytes_that_cannot_be_read_are_named_and_their_neighbours_are_read():
    layout = layout_of(RECIPIENT)
    event = Event("1", EventType.CLICKED, "ann", NIGHTS[0], NIGHTS[0], topics=("a",))
    state = State()
    state.apply(event, layout=layout, affinity=AFFINITY, offset=7)
    sound = pack(state, layout)
    far = replace(state, slots={layout.n_slots: 1.0})
    damaged = [sound[:-8], b"", sound + bytes(8), b"\x09" + sound[1:], pack(far, layout)]
    block, bad = decode([sound, *damaged, sound], layout)
    assert bad == [1, 2, 3, 4, 5]
    again = encode(block, layout)
    assert again[0] == again[-1] == sound
    assert set(again[1:-1]) == {pack(State(), layout)}
    assert int.from_bytes(sound[SEEN_AT : SEEN_AT + 8], "little") == 7


def test_a_robot_keeps_its_strongest_interests_alike():
    layout = layout_of(RECIPIENT)
    state = State(at=NIGHTS[0], affinity={TOTAL_KEY: 1e-3})
    rng = np.random.default_rng(1)
    state.affinity |= {i + 1: float(v) for i, v in enumerate(rng.random(MAX_TASTES + 900))}
    small = State(at=NIGHTS[0], affinity={TOTAL_KEY: 1.0, 5: 1.0})
    block, _ = decode([pack(small, layout), None], layout)
    entries = [np.array([*small.affinity, *state.affinity]),
               np.array([*small.affinity.values(), *state.affinity.values()])]  # fmt: skip
    block.tastes = np.repeat([0, 1], [2, len(state.affinity)]), *entries
    block.head["at"] = NIGHTS[0]
    assert encode(block, layout) == [pack(small, layout), pack(state, layout)]
