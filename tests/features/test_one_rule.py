"""The one rule: batch, stream, merge and restart all answer what the definitions say."""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features import batch
from features.assemble import matrix
from features.bulk_states import states
from features.candidates import affinity_of
from features.definitions import AFFINITY, VIEWS
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import Event, EventType
from features.layout import layout_of
from features.packing import MAX_TASTES, pack, unpack
from features.reading import read
from features.state import TOTAL_KEY, State
from features.stream import AFFINITIES, PROGRESS, Stream
from tests.features.oracle import (
    CANDIDATES,
    CLOSE,
    DAY_US,
    FAR,
    HOUR_US,
    KEY_OF,
    LATER,
    MONTH,
    NIGHTS,
    YEARS,
    Oracle,
    agree,
    applied,
    batch_affinity,
    batch_reading,
    batch_readings,
    end_of,
    log_and_store,
    one_event,
    oracles,
    read_for,
    states_agree,
    stored,
)

# --- the laws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.entity)
@settings(max_examples=40)
@given(events=YEARS, moments=st.lists(CLOSE | FAR, max_size=3), wait=LATER)
def test_batch_at_any_moment_is_the_definition_of_what_was_known(view, events, moments, wait):
    edges = [events[0].received_at, events[-1].occurred_at, end_of(events) - 1, end_of(events)]
    moments = [*moments, *edges, end_of(events) + wait]
    expected = [o for at in moments for o in oracles(view, events, at).values()]
    keys = [key for at in moments for key in oracles(view, events, at)]
    spine = pl.DataFrame(
        {"key": [*keys, "stranger"], "at": [*(o.at for o in expected), moments[0]]},
        schema={"key": pl.String, "at": pl.Int64},
    )
    expected.append(Oracle(view, [], moments[0], [e for e in events if e.content_id]))
    with log_and_store() as (log, _):
        log.append(events)
        agree(*batch_readings(log, view, spine, expected))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.entity)
@settings(max_examples=60)
@given(events=YEARS, wait=LATER)
def test_one_by_one_as_they_became_known_is_the_definition(view, events, wait):
    expected = oracles(view, events, end_of(events) + wait)
    if expected:
        states_agree(applied(events, view), expected, view)


@settings(max_examples=60)
@given(MONTH, LATER, st.randoms(use_true_random=False))
def test_one_by_one_in_any_order_is_the_definition(events, wait, random):
    expected = oracles(RECIPIENT, events, end_of(events) + wait)
    states_agree(applied(random.sample(events, len(events)), RECIPIENT), expected, RECIPIENT)


@settings(max_examples=60)
@given(MONTH, st.lists(st.integers(0, 3), min_size=30, max_size=30), LATER)
def test_parts_merged_are_the_definition(events, places, wait):
    whole: dict[str, State] = {}
    for part in range(4):
        mine = [e for e, place in zip(events, places, strict=False) if place == part]
        for key, state in applied(mine, RECIPIENT).items():
            merged = whole.setdefault(key, State())
            merged.merge(state, layout=layout_of(RECIPIENT), affinity=AFFINITY)
    states_agree(whole, oracles(RECIPIENT, events, end_of(events) + wait), RECIPIENT)


@settings(max_examples=20)
@given(MONTH, st.randoms(use_true_random=False), st.integers(0, 30), LATER)
def test_the_stream_is_the_definition_whatever_arrives_twice(events, random, cut, wait):
    again = random.sample(events, len(events) // 2)
    arriving = random.sample([*events, *again], len(events) + len(again))
    with log_and_store() as (log, store):
        stream = Stream(log, store)
        for part in (arriving[:cut], arriving[cut:], again):
            log.append(part)
            stream.catch_up()
            assert stream.catch_up() == 0
        for view in VIEWS:
            if expected := oracles(view, events, end_of(events) + wait):
                states_agree(stored(store, view), expected, view)


ONE_HOUR = [
    Event(str(i), EventType.CLICKED, "ann", at, at, content_id="hat")
    for i, at in enumerate((NIGHTS[0], NIGHTS[0] + 1, NIGHTS[0] + HOUR_US))
]


@settings(max_examples=25)
@example(ONE_HOUR, 0.4, 1)  # an hour begun before the load and gone on with after it
@given(MONTH | YEARS, st.floats(0.1, 0.9), LATER)
def test_a_bulk_load_continued_by_the_stream_is_the_definition(events, share, wait):
    cut = round(share * len(events))
    with log_and_store() as (log, store):
        stream = Stream(log, store)
        stream.start_over_when_redefined()
        log.append(events[:cut])
        for view in VIEWS:
            found = states(
                read_for(view, log.scan()),
                key=KEY_OF[view.entity],
                layout=layout_of(view),
                affinity=AFFINITIES[view.entity],
            )
            rows = [(key, s.seen, s.at, pack(s, layout_of(view))) for key, s in found]
            store.put(view.entity, rows)
        with store.writing():
            store.set_progress(PROGRESS, log.head())
        log.append(events[cut:])
        stream.catch_up()
        for view in VIEWS:
            if expected := oracles(view, events, end_of(events) + wait):
                states_agree(stored(store, view), expected, view)


@settings(max_examples=20)
@given(YEARS, LATER)
def test_bulk_states_hold_what_the_stream_holds(events, wait):
    at = end_of(events) + wait
    with log_and_store() as (log, store):
        log.append(events)
        Stream(log, store).catch_up()
        for view in VIEWS:
            layout = layout_of(view)
            streamed = stored(store, view)
            bulk = dict(
                states(
                    read_for(view, log.scan()),
                    key=KEY_OF[view.entity],
                    layout=layout,
                    affinity=AFFINITIES[view.entity],
                )
            )
            assert bulk.keys() == streamed.keys()
            for key, state in bulk.items():
                other = streamed[key]
                assert (state.seen, state.hours) == (other.seen, other.hours)
                assert (state.newest, state.weeks) == (other.newest, other.weeks)
                assert state.profile == other.profile
                assert (state.zone_at, state.zone_offset_min, state.zone) == (
                    other.zone_at, other.zone_offset_min, other.zone,
                )  # fmt: skip
                tastes, others = (
                    {k: s.affinity_at(k, at, AFFINITIES[view.entity]) for k in s.affinity}
                    for s in (state, other)
                )
                assert tastes == pytest.approx(others, rel=1e-6)


@settings(max_examples=25)
@given(YEARS, st.lists(CLOSE | FAR, min_size=1, max_size=2), LATER)
def test_affinity_of_a_state_and_in_bulk_are_the_definition(events, moments, wait):
    with log_and_store() as (log, _):
        log.append(events)
        for at in [*moments, end_of(events) + wait]:
            known = [e for e in events if e.received_at < at]
            states = applied(known, RECIPIENT)
            for key, oracle in oracles(RECIPIENT, events, at).items():
                expected = oracle.affinity()
                np.testing.assert_allclose(batch_affinity(log, key, at), expected, 1e-6, 1e-29)
                found = affinity_of(states.get(key), CANDIDATES, at)
                np.testing.assert_allclose(found, expected, 1e-6, 1e-29)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.entity)
@settings(max_examples=25)
@given(events=YEARS, at=CLOSE | FAR, more=st.lists(one_event(FAR), max_size=10))
def test_no_row_changes_when_later_events_are_added(view, events, at, more):
    """Later means: occurred or received at the moment or after it."""
    known = [e for e in events if e.received_at < at]
    unknown = [
        e._replace(event_id=f"later {i}", occurred_at=occurred, received_at=received)
        for i, e in enumerate([*(e for e in events if e.received_at >= at), *more])
        for occurred, received in [
            (e.occurred_at, max(e.received_at, at)) if i % 2 else (at, at + i),
        ]
    ]
    keys = sorted({getattr(e, KEY_OF[view.entity]) for e in [*events, *more]} - {""})
    spine = pl.DataFrame({"key": keys, "at": at}, schema={"key": pl.String, "at": pl.Int64})
    with log_and_store() as (log, _), log_and_store() as (longer, _):
        log.append(known)
        longer.append([*unknown[::2], *known, *unknown[1::2]])
        before = batch_reading(log, view, spine)
        after = batch_reading(longer, view, spine)
        cut = batch.event_table(
            read_for(view, longer.scan(as_of=at)), key=KEY_OF[view.entity], layout=layout_of(view)
        )
        for later in (after, batch.read_at(cut, spine, layout_of(view))):
            np.testing.assert_array_equal(later.values, before.values)
            np.testing.assert_array_equal(later.last, before.last)
            np.testing.assert_array_equal(later.first, before.first)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.entity)
@settings(max_examples=30)
@given(events=YEARS, wait=LATER)
def test_packing_and_unpacking_changes_nothing(view, events, wait):
    layout, at = layout_of(view), end_of(events) + wait
    for state in applied(events, view).values():
        again = unpack(pack(state, layout), layout)
        assert pack(again, layout) == pack(state, layout)
        assert (again.at, again.seen, again.last, again.first, again.hours) == (
            state.at, state.seen, state.last, state.first, state.hours,
        )  # fmt: skip
        assert (again.weeks, again.profile, again.newest_hour) == (
            state.weeks, state.profile, state.newest_hour,
        )  # fmt: skip
        one, two = (matrix(read([s], at, layout), view) for s in (state, again))
        np.testing.assert_array_equal(one, two)


def test_64_weeks_of_activity_are_64_bits():
    """Beyond 53 weeks a number that is not whole any more would lose the newest."""
    weeks = [NIGHTS[0] + 7 * DAY_US * i for i in range(64)]
    events = [Event(str(i), EventType.PAGE_VIEWED, "ann", at, at) for i, at in enumerate(weeks)]
    at, layout = weeks[-1] + 1, layout_of(RECIPIENT)
    with log_and_store() as (log, _):
        log.append(events)
        bulk = batch_reading(log, RECIPIENT, pl.DataFrame({"key": ["ann"], "at": [at]}))
    for reading in (bulk, read([applied(events, RECIPIENT)["ann"]], at, layout)):
        found = dict(zip(RECIPIENT.names, matrix(reading, RECIPIENT)[0].tolist(), strict=True))
        assert found["active_weeks_in_a_row"] == 64
        assert found["active_weeks_of_52"] == 52


def test_an_active_hour_known_35_days_late_is_not_counted_either_way():
    """The documented limit: neither the state nor the batch still knows which hours it counted."""
    old, new = (
        Event(str(i), EventType.CLICKED, "ann", at, NIGHTS[0] + 60 * DAY_US)
        for i, at in enumerate((NIGHTS[0], NIGHTS[0] + 59 * DAY_US))
    )
    at = NIGHTS[0] + 61 * DAY_US
    total = next(
        place
        for place, (c, doubtful) in enumerate(layout_of(RECIPIENT).slots)
        if c.name == "active_total" and not doubtful
    )
    state = applied([new, old], RECIPIENT)["ann"]
    with log_and_store() as (log, _):
        log.append([new, old])
        reading = batch_reading(log, RECIPIENT, pl.DataFrame({"key": ["ann"], "at": [at]}))
    assert reading.values[0, total] == pytest.approx(1.0)
    assert read([state], at, layout_of(RECIPIENT)).values[0, total] == pytest.approx(1.0)
    assert len(state.last) == len(applied([old, new], RECIPIENT)["ann"].last)


def test_a_crawler_that_touches_100_000_items_is_still_a_state():
    event = Event("", EventType.PAGE_VIEWED, "ann", NIGHTS[0], NIGHTS[0])
    state = State()
    layout = layout_of(RECIPIENT)
    for number in range(100_000):
        state.apply(event._replace(content_id=str(number)), layout=layout, affinity=AFFINITY)
    again = unpack(pack(state, layout), layout)
    assert len(again.affinity) == MAX_TASTES
    assert again.affinity[TOTAL_KEY] == state.affinity[TOTAL_KEY]


def test_content_features_have_no_rhythm_and_recipients_do():
    assert not layout_of(CONTENT).has_rhythm
    assert layout_of(RECIPIENT).n_slots == layout_of(RECIPIENT).n_counters + 3 * 168
