"""The one rule: batch, stream, merge and restart all answer what the definitions say.

The oracle here knows nothing of slots, kernels or states: it reads the definitions and sums
`w * 2^-(age / half_life)` over what was known. Left out by construction, as documented: an
active hour that becomes known more than 35 days behind the newest one.
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features import batch
from features.assemble import Reading, matrix, read, rhythm
from features.candidates import Candidate, affinity_matrix, affinity_of
from features.definitions import AFFINITY, VIEWS
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import ENGAGED
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.log import EventLog
from features.events.schema import Actor, Event, EventType, offset_at, zone_of
from features.layout import layout_of
from features.packed import PackedStore
from features.spec import (
    Decayed,
    FeatureView,
    MeanGap,
    Pending,
    Rate,
    Recency,
    Signal,
    Tenure,
    Velocity,
    Weight,
    key_hash,
)
from features.state import MAX_TASTES, TOTAL_KEY, State
from features.stream import PROGRESS, Stream

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NEVER = -(2**62)
KEY_OF = {"recipient": "recipient_key", "content": "content_id"}
PEOPLE, ITEMS, TOPICS = (
    ("ann", "bob", "o'cy ✉"),
    ("", "", "shoe", "hat", "../x"),
    ("red", "sea", ""),
)
CANDIDATES = (
    Candidate("shoe", ("red",)),
    Candidate("hat", ("red", "sea", "")),
    Candidate("unseen", ("nobody's",)),
    Candidate("../x"),
)


def utc(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


# Both nights on which clocks change, for a whole hour, for half an hour, and south of the line.
NIGHTS = (
    utc(2024, 3, 31, 0, 30), utc(2024, 10, 27, 0, 30), utc(2024, 3, 10, 6, 30),
    utc(2024, 11, 3, 5, 30), utc(2024, 4, 6, 14, 30), utc(2024, 10, 5, 15, 15),
)  # fmt: skip
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
OFFSETS = (None, None, 0, 840, -720, 330, -210)
START = utc(2023, 1, 1)
# Some hours come close together, so that active hours are met twice; some gaps are years.
SAME = st.tuples(st.just(NIGHTS[0]), st.integers(0, 9)).map(
    lambda drawn: drawn[0] + drawn[1] * HOUR_US // 5
)
CLOSE = SAME | st.tuples(st.sampled_from(NIGHTS), st.integers(0, 4 * HOUR_US)).map(sum)
FAR = st.integers(START, START + 1_100 * DAY_US)
DELAYS = st.just(0) | st.integers(0, 2 * HOUR_US) | st.integers(0, 30 * DAY_US)


@st.composite
def one_event(draw: st.DrawFn, moments: st.SearchStrategy[int]) -> Event:
    at = draw(moments)
    zone = draw(st.sampled_from((*ZONES, *[""] * 9)))
    known = zone_of(zone) if zone else None
    return Event(
        event_id="",
        type=draw(st.sampled_from((*EventType, *sorted(ENGAGED) * 3))),
        recipient_key=draw(st.sampled_from(PEOPLE)),
        occurred_at=at,
        received_at=at + draw(DELAYS),
        content_id=draw(st.sampled_from(ITEMS)),
        topics=tuple(draw(st.lists(st.sampled_from(TOPICS), unique=True, max_size=3))),
        value=draw(st.sampled_from((math.nan, 12.5, 0.01, 999.99, 0.0))),
        utc_offset_min=offset_at(known, at) if known else draw(st.sampled_from(OFFSETS)),
        timezone=zone,
        actor=draw(st.sampled_from((*[Actor.HUMAN] * 5, *Actor))),
    )


def histories(moments: st.SearchStrategy[int]) -> st.SearchStrategy[list[Event]]:
    """Events in the order in which they became known."""
    many = st.lists(one_event(moments), min_size=1, max_size=30)
    return many.map(
        lambda events: [
            replace(event, event_id=str(i))
            for i, event in enumerate(sorted(events, key=lambda e: e.received_at))
        ]
    )


YEARS = histories(CLOSE | FAR)
# Within 32 days a state remembers every hour, so that events may come in any order.
MONTH = histories(
    SAME | st.tuples(st.just(NIGHTS[0]), st.integers(0, 32 * DAY_US)).map(sum)
).filter(lambda events: _span(events) < 33 * DAY_US)
LATER = st.integers(1, 40 * DAY_US) | st.just(1)


def _span(events: list[Event]) -> int:
    moments = [event.occurred_at for event in events]
    return max(moments) - min(moments)


# --- the oracle -------------------------------------------------------------------------------


@dataclass
class Oracle:
    """What one key's features are at a moment, from the definitions alone."""

    view: FeatureView
    events: list[Event]
    at: int

    def __post_init__(self) -> None:
        self.events = [e for e in self.events if max(e.occurred_at, e.received_at) < self.at]

    def of(self, signal: Signal) -> list[Event]:
        return [e for e in self.events if e.type in signal.types and e.actor in signal.actors]

    def hours(self, signal: Signal) -> set[datetime]:
        moments = (
            datetime.fromtimestamp(e.occurred_at // 1_000_000, UTC)
            + timedelta(minutes=e.utc_offset_min or 0)
            for e in self.of(signal)
        )
        return {moment.replace(minute=0, second=0) for moment in moments}

    def faded(self, at: int, half_life: float) -> float:
        return 2.0 ** -((self.at - at) / 1e6 / half_life)

    def counter(self, counter: Decayed) -> float:
        signal, half_life = counter.signal, counter.half_life
        if signal.per_hour:
            return sum(self.faded(_us(h), half_life) for h in self.hours(signal))
        if signal.weight is Weight.VALUE:
            paid = [e for e in self.of(signal) if not math.isnan(e.value)]
            return sum(e.value * self.faded(e.occurred_at, half_life) for e in paid)
        return sum(self.faded(e.occurred_at, half_life) for e in self.of(signal))

    def week(self) -> list[float]:
        week = [0.0] * 168
        for hour in self.hours(self.view.active):
            week[hour.weekday() * 24 + hour.hour] += self.faded(
                _us(hour), self.view.rhythm_half_life or 1.0
            )
        return week

    def last(self, signal: Signal) -> int:
        return max((e.occurred_at for e in self.of(signal)), default=NEVER)

    def first(self, signal: Signal) -> int:
        return min((e.occurred_at for e in self.of(signal)), default=-NEVER)

    def days_since(self, at: int) -> float:
        return math.nan if abs(at) == -NEVER else (self.at - at) / DAY_US

    def features(self) -> list[float]:
        return [self.feature(feature) for feature in self.view.features]

    def feature(self, feature: object) -> float:  # noqa: PLR0911 - one line per kind
        match feature:
            case Decayed():
                return self.counter(feature)
            case Rate(top=top, bottom=bottom, prior=prior, prior_weight=weight):
                return (self.counter(top) + prior * weight) / (self.counter(bottom) + weight)
            case Recency(signal=signal):
                return self.days_since(self.last(signal))
            case Tenure(signal=signal):
                return self.days_since(self.first(signal))
            case MeanGap(total=total):
                gaps = self.counter(total) - 1
                span = (self.last(total.signal) - self.first(total.signal)) / DAY_US
                return span / gaps if gaps > 0.5 else math.nan
            case Velocity(fast=fast, slow=slow):
                rates = [self.counter(c) / (c.half_life / 86_400.0) + 1e-4 for c in (fast, slow)]
                return math.log(rates[0] / rates[1])
            case Pending(begun=begun, finished=finished, days=days):
                newest = self.last(begun)
                is_recent = newest != NEVER and (self.at - newest) / DAY_US <= days
                return float(is_recent and newest > self.last(finished))
        raise AssertionError(feature)

    def interest(self, wanted: str = "", item: str = "") -> float:
        total = 0.0
        for e in self.events:
            if (
                e.type not in ENGAGED
                or e.actor is not Actor.HUMAN
                or not (e.topics or e.content_id)
            ):
                continue
            hits = int(wanted in e.topics) if wanted != "*" else 1
            hits = int(e.content_id == item) if item else hits
            total += (
                hits
                * AFFINITY.weights.get(e.type, 0.0)
                * self.faded(e.occurred_at, AFFINITY.half_life)
            )
        return total

    def affinity(self) -> np.ndarray:
        width = max(len(c.topics) for c in CANDIDATES)
        topics = np.full((len(CANDIDATES), width), np.nan)
        for row, candidate in enumerate(CANDIDATES):
            topics[row, : len(candidate.topics)] = [self.interest(t) for t in candidate.topics]
        items = np.array([self.interest(item=c.content_id) for c in CANDIDATES])
        return affinity_matrix(np.full(len(CANDIDATES), self.interest("*")), topics, items)


def _us(hour: datetime) -> int:
    return round(hour.timestamp()) * 1_000_000


def oracles(view: FeatureView, events: list[Event], at: int) -> dict[str, Oracle]:
    key = KEY_OF[view.entity]
    keys = {getattr(event, key) for event in events} - {""}
    return {
        name: Oracle(view, [e for e in events if getattr(e, key) == name], at)
        for name in sorted(keys)
    }


# --- the comparison ---------------------------------------------------------------------------


def agree(reading: Reading, expected: list[Oracle], view: FeatureView) -> None:
    layout = layout_of(view)
    slots = np.array([[o.counter(c) for c in layout.counters] for o in expected])
    np.testing.assert_allclose(reading.values[:, : layout.n_counters], slots, 1e-6, 1e-29)
    last = [[o.last(signal) for signal in layout.channels] for o in expected]
    first = [[o.first(signal) for signal in layout.channels] for o in expected]
    np.testing.assert_array_equal(reading.last, last)
    np.testing.assert_array_equal(reading.first, first)
    features = np.array([o.features() for o in expected])
    np.testing.assert_allclose(matrix(reading, view), features, 1e-6, 1e-6)
    if layout.has_rhythm:
        weeks = np.array([o.week() for o in expected])
        np.testing.assert_allclose(rhythm(reading, layout), weeks, 1e-6, 1e-29)


def states_agree(states: dict[str, State], expected: dict[str, Oracle], view: FeatureView) -> None:
    assert set(states) == set(expected)
    at = next(iter(expected.values())).at
    agree(read([states[key] for key in expected], at, layout_of(view)), [*expected.values()], view)
    if view is RECIPIENT:
        for key, oracle in expected.items():
            found = affinity_of(states[key], CANDIDATES, at)
            np.testing.assert_allclose(found, oracle.affinity(), 1e-6, 1e-29)


def end_of(events: list[Event]) -> int:
    return max(event.received_at for event in events) + 1


def applied(events: list[Event], view: FeatureView) -> dict[str, State]:
    states: dict[str, State] = {}
    for event in events:
        if key := getattr(event, KEY_OF[view.entity]):
            state = states.setdefault(key, State())
            state.apply(event, layout=layout_of(view), affinity=AFFINITY)
    return states


def stored(store: PackedStore, view: FeatureView) -> dict[str, State]:
    keys = store.keys(view.entity, limit=1_000)
    blobs = store.get(view.entity, keys)
    layout = layout_of(view)
    return {k: State.unpack(blob, layout) for k, blob in zip(keys, blobs, strict=True) if blob}


@contextmanager
def log_and_store() -> Iterator[tuple[EventLog, PackedStore]]:
    with (
        tempfile.TemporaryDirectory() as root,
        EventLog(Path(root) / "log") as log,
        PackedStore(Path(root) / "online.sqlite") as store,
    ):
        yield log, store


def batch_reading(log: EventLog, view: FeatureView, spine: pl.DataFrame) -> Reading:
    layout = layout_of(view)
    table = batch.event_table(log.scan(), key=KEY_OF[view.entity], layout=layout)
    return batch.read_at(table, spine, layout)


def batch_affinity(log: EventLog, key: str, at: int) -> np.ndarray:
    """Affinity features of CANDIDATES in bulk, as `training.dataset` asks for them."""
    added = batch.affinity_events(log.scan(), layout=layout_of(RECIPIENT), affinity=AFFINITY)
    width = max(len(c.topics) for c in CANDIDATES)
    asked: list[int] = [TOTAL_KEY]
    for c in CANDIDATES:
        asked += [key_hash("content", c.content_id), *(key_hash("topic", t) for t in c.topics)]
    spine = pl.DataFrame({"recipient_key": key, "entry": asked, "at": at})
    values = batch.affinity_at(added, spine, half_life=AFFINITY.half_life)
    interest = dict(zip(asked, values, strict=True))
    topics = np.full((len(CANDIDATES), width), np.nan)
    for row, c in enumerate(CANDIDATES):
        topics[row, : len(c.topics)] = [interest[key_hash("topic", t)] for t in c.topics]
    items = np.array([interest[key_hash("content", c.content_id)] for c in CANDIDATES])
    return affinity_matrix(np.full(len(CANDIDATES), interest[TOTAL_KEY]), topics, items)


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
    expected.append(Oracle(view, [], moments[0]))
    with log_and_store() as (log, _):
        log.append(events)
        agree(batch_reading(log, view, spine), expected, view)


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
            found = batch.states(
                log.scan(), key=KEY_OF[view.entity], layout=layout_of(view), affinity=AFFINITY
            )
            rows = [(key, s.seen, s.at, s.pack(layout_of(view))) for key, s in found]
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
                batch.states(log.scan(), key=KEY_OF[view.entity], layout=layout, affinity=AFFINITY)
            )
            assert bulk.keys() == streamed.keys()
            for key, state in bulk.items():
                other = streamed[key]
                assert (state.seen, state.hours) == (other.seen, other.hours)
                assert (state.zone_at, state.zone_offset_min, state.zone) == (
                    other.zone_at, other.zone_offset_min, other.zone,
                )  # fmt: skip
                tastes, others = (
                    {k: s.affinity_at(k, at, AFFINITY) for k in s.affinity} for s in (state, other)
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
        replace(e, event_id=f"later {i}", occurred_at=occurred, received_at=received)
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
            longer.scan(as_of=at), key=KEY_OF[view.entity], layout=layout_of(view)
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
        again = State.unpack(state.pack(layout), layout)
        assert again.pack(layout) == state.pack(layout)
        assert (again.at, again.seen, again.last, again.first, again.hours) == (
            state.at, state.seen, state.last, state.first, state.hours,
        )  # fmt: skip
        one, two = (matrix(read([s], at, layout), view) for s in (state, again))
        np.testing.assert_array_equal(one, two)


def test_an_active_hour_known_35_days_late_is_left_to_the_rebuild():
    """The documented limit: the state does not count it, the batch does."""
    old, new = (
        Event(str(i), EventType.CLICKED, "ann", at, NIGHTS[0] + 60 * DAY_US)
        for i, at in enumerate((NIGHTS[0], NIGHTS[0] + 59 * DAY_US))
    )
    at = NIGHTS[0] + 61 * DAY_US
    total = layout_of(RECIPIENT).counters.index(
        next(c for c in layout_of(RECIPIENT).counters if c.name == "active_total")
    )
    state = applied([new, old], RECIPIENT)["ann"]
    with log_and_store() as (log, _):
        log.append([new, old])
        reading = batch_reading(log, RECIPIENT, pl.DataFrame({"key": ["ann"], "at": [at]}))
    assert reading.values[0, total] == pytest.approx(2.0)
    assert read([state], at, layout_of(RECIPIENT)).values[0, total] == pytest.approx(1.0)
    assert len(state.last) == len(applied([old, new], RECIPIENT)["ann"].last)


def test_a_crawler_that_touches_100_000_items_is_still_a_state():
    event = Event("", EventType.PAGE_VIEWED, "ann", NIGHTS[0], NIGHTS[0])
    state = State()
    layout = layout_of(RECIPIENT)
    for number in range(100_000):
        state.apply(replace(event, content_id=str(number)), layout=layout, affinity=AFFINITY)
    again = State.unpack(state.pack(layout), layout)
    assert len(again.affinity) == MAX_TASTES
    assert again.affinity[TOTAL_KEY] == state.affinity[TOTAL_KEY]


def test_content_features_have_no_rhythm_and_recipients_do():
    assert not layout_of(CONTENT).has_rhythm
    assert layout_of(RECIPIENT).n_slots == layout_of(RECIPIENT).n_counters + 168
