"""What changes the past: labels found out later, people erased; batch and stream agree on it."""

from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from features import batch
from features.assemble import matrix
from features.candidates import affinities
from features.definitions import AFFINITY, VIEWS
from features.definitions.cohort import TASTES
from features.definitions.cohort import VIEW as COHORT
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import EARLY, Actor, Event, EventType
from features.layout import layout_of
from features.reading import read
from features.state import State
from features.stream import Stream
from tests.features.oracle import (
    CANDIDATES,
    CLOSE,
    DAY_US,
    FAR,
    HOUR_US,
    LATER,
    MONTH,
    NIGHTS,
    YEARS,
    agree,
    batch_affinity,
    batch_readings,
    end_of,
    log_and_store,
    oracles,
    states_agree,
    stored,
    with_labels,
)

START = NIGHTS[0]


def event(name: str, kind: EventType, at: int, **more: object) -> Event:
    return Event(name, kind, "ann", at, at, **more)  # type: ignore[arg-type]


def label(name: str, target: str, actor: Actor, at: int, **more: object) -> Event:
    told = {"actor": actor, "properties": {"event_id": target}} | more
    return event(name, EventType.RELABELLED, at, **told)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.entity)
@settings(max_examples=12)
@given(
    events=with_labels(YEARS), moments=st.lists(CLOSE | FAR, max_size=3), wait=LATER,
    at_once=st.sampled_from([1, 10, batch.COPIED]),
)  # fmt: skip
def test_a_row_reads_each_event_under_the_label_of_its_moment(view, events, moments, wait, at_once):
    learnt = [e.received_at for e in events if e.type is EventType.RELABELLED]
    moments = [*moments, *learnt, *(at + 1 for at in learnt), end_of(events) + wait]
    expected = [o for at in moments for o in oracles(view, events, at).values()]
    keys = [key for at in moments for key in oracles(view, events, at)]
    assume(keys)
    spine = pl.DataFrame(
        {"key": keys, "at": [o.at for o in expected]}, schema={"key": pl.String, "at": pl.Int64}
    )
    with log_and_store() as (log, _), patch.object(batch, "COPIED", at_once):
        log.append(events)
        agree(*batch_readings(log, view, spine, expected))
        if view is RECIPIENT:
            for key, oracle in zip(keys, expected, strict=True):
                found = batch_affinity(log, key, oracle.at)
                np.testing.assert_allclose(found, oracle.affinity(), 1e-6, 1e-9)


@settings(max_examples=20)
@given(with_labels(MONTH), st.integers(0, 30), LATER)
def test_the_stream_reads_the_newest_labels(events, cut, wait):
    with log_and_store() as (log, store):
        for part in (events[:cut], events[cut:], events[cut:]):
            log.append(part)
            Stream(log, store).catch_up()
        states_agree(
            stored(store, RECIPIENT), oracles(RECIPIENT, events, end_of(events) + wait), RECIPIENT
        )


@pytest.mark.parametrize("view", [CONTENT, COHORT], ids=lambda view: view.entity)
@settings(max_examples=15)
@given(events=with_labels(MONTH), cut=st.integers(0, 30), wait=LATER)
def test_the_counts_of_an_item_or_a_cohort_follow_the_labels(view, events, cut, wait):
    """Its first and last times only widen, until `materialize` folds them again."""
    expected = oracles(view, events, end_of(events) + wait)
    with log_and_store() as (log, store):
        for part in (events[:cut], events[cut:]):
            log.append(part)
            Stream(log, store).catch_up()
        states = stored(store, view)
    layout = layout_of(view)
    assert states.keys() == expected.keys()
    for key, oracle in expected.items():
        found = read([states[key]], oracle.at, layout)
        slots = [oracle.slot(c, doubtful=doubtful) for c, doubtful in layout.slots]
        np.testing.assert_allclose(found.values[0], slots, 1e-6, 1e-9)
        for place, (signal, doubtful) in enumerate(layout.channels):
            for e in oracle.part(signal, doubtful=doubtful):
                assert found.first[0, place] <= e.occurred_at <= found.last[0, place]
        if view is COHORT:
            (told,) = affinities([states[key]], CANDIDATES, oracle.at, affinity=TASTES)
            np.testing.assert_allclose(told, oracle.affinity(), 1e-6, 1e-9)


@settings(max_examples=20)
@given(MONTH, st.floats(0, 1), st.integers(0, 30), LATER)
@example([event("a", EventType.CLICKED, START)], 0.0, 0, 1)
def test_an_erased_person_is_gone_and_the_neighbours_are_untouched(events, share, cut, wait):
    """What happened up to the erasure does not come back, however late it arrives."""
    at = START + round(share * 33 * DAY_US)
    who = events[0].recipient_key
    erased = Event("gone", EventType.ERASED, who, at, at)
    arriving = [*events[:cut], erased, *events[cut:]]
    until = max(end_of(events), at + 1) + wait
    with log_and_store() as (log, store):
        for part in (arriving[:cut], arriving[cut:]):
            log.append(part)
            Stream(log, store).catch_up()
        states_agree(stored(store, RECIPIENT), oracles(RECIPIENT, arriving, until), RECIPIENT)
        for view in VIEWS:
            expected = oracles(view, arriving, until)
            if not expected:
                continue
            spine = pl.DataFrame({"key": list(expected), "at": until})
            agree(*batch_readings(log, view, spine, [*expected.values()]))


def features_of(events: list[Event], at: int) -> dict[str, float]:
    state = State()
    for one in events:
        state.apply(one, layout=layout_of(RECIPIENT), affinity=AFFINITY)
    rows = matrix(read([state], at, layout_of(RECIPIENT)), RECIPIENT)
    return dict(zip(RECIPIENT.names, rows[0].tolist(), strict=True))


def test_one_machine_open_voids_all_opens_of_the_person_for_180_days_and_nothing_else():
    opens = [event(f"o{i}", EventType.OPENED, START + i * DAY_US) for i in range(10)]
    visit = event("v", EventType.PAGE_VIEWED, START + 3 * DAY_US + 5 * HOUR_US)
    machine = event("m", EventType.OPENED, START + 9 * DAY_US, actor=Actor.MACHINE)
    nothing = features_of([visit], START + 10 * DAY_US)
    before = features_of([*opens, visit], START + 10 * DAY_US)
    after = features_of([*opens, visit, machine], START + 10 * DAY_US)
    assert before["opened_hl30d"] > 8
    assert before["active_total"] == 11
    assert after["opened_hl30d"] == 0
    assert np.isnan(after["days_since_opened"])
    assert after["active_total"] == nothing["active_total"] == 1
    later = features_of([*opens, visit, machine], START + (9 + 181) * DAY_US)
    assert later["active_total"] == 11


def test_a_visit_in_the_hour_of_an_open_stays_when_the_open_is_voided():
    open_, visit = event("o", EventType.OPENED, START), event("v", EventType.PAGE_VIEWED, START + 1)
    machine = event("m", EventType.OPENED, START + HOUR_US, actor=Actor.UNKNOWN)
    for events in ([open_, visit, machine], [visit, machine, open_], [machine, open_, visit]):
        found = features_of(events, START + DAY_US)
        assert found["active_total"] == pytest.approx(1.0)
        assert found["session_hl1d"] == pytest.approx(0.5, rel=0.1)


def test_a_scanner_voids_quick_clicks_and_leaves_the_others():
    quick = event("q", EventType.CLICKED, START, actor_reasons=(EARLY,))
    slow = event("s", EventType.CLICKED, START + DAY_US)
    scan = event("m", EventType.CLICKED, START + 2 * DAY_US, actor=Actor.MACHINE)
    at = START + 3 * DAY_US
    assert features_of([quick, slow], at)["active_total"] == 2
    assert features_of([quick, slow, scan], at)["active_total"] == 1
    assert features_of([quick, slow, scan], at)["days_since_clicked"] == 2


@pytest.mark.parametrize("kind", [EventType.UNSUBSCRIBED, EventType.COMPLAINED])
def test_an_opt_out_counts_whoever_clicked_it(kind):
    found = features_of([event("u", kind, START, actor=Actor.MACHINE)], START + DAY_US)
    assert found["days_since_opted_out"] == 1


def test_a_label_of_another_person_or_of_nothing_changes_nothing():
    click = event("c", EventType.CLICKED, START)
    strangers = [
        label("l1", "c", Actor.MACHINE, START + 1)._replace(recipient_key="bob"),
        label("l2", "nothing", Actor.MACHINE, START + 2),
    ]
    with log_and_store() as (log, store):
        log.append([click, *strangers])
        Stream(log, store).catch_up()
        state = stored(store, RECIPIENT)["ann"]
    rows = matrix(read([state], START + DAY_US, layout_of(RECIPIENT)), RECIPIENT)
    assert rows[0][RECIPIENT.names.index("active_total")] == 1
