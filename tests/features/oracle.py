"""What features are, from the definitions alone: the oracle of every faster way.

It knows nothing of slots, kernels or states: it reads the definitions and sums
`w * 2^-(age / half_life)` over what was known. Left out by construction, as documented: an
active hour that becomes known more than 35 days behind the newest one.
"""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st

from features import batch
from features.assemble import activity, exposure, matrix
from features.candidates import Candidate, affinities, affinity_matrix
from features.cohorts import cohort_events
from features.definitions import AFFINITY
from features.definitions.cohort import VIEW as COHORT
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import ENGAGED
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.log import EventLog
from features.events.schema import EARLY, Actor, Event, EventType, offset_at, zone_of
from features.kinds import (
    Decayed,
    MeanGap,
    Overdue,
    Pace,
    Pending,
    Rate,
    Recency,
    Streak,
    Tenure,
    Velocity,
    WeeksActive,
)
from features.layout import POOL, Layout, layout_of
from features.packed import PackedStore
from features.packing import unpack
from features.reading import Reading, read
from features.signals import Signal, Weight
from features.spec import FeatureView, key_hash
from features.state import TOTAL_KEY, State
from features.stream import AFFINITIES
from features.tastes import affinity_at, affinity_events

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NEVER = -(2**62)
KEY_OF = {"recipient": "recipient_key", "content": "content_id", "cohort": "cohort"}
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


CORRECTING = {EventType.RELABELLED, EventType.ERASED}
ORDINARY = tuple(kind for kind in EventType if kind not in CORRECTING)


@st.composite
def one_event(draw: st.DrawFn, moments: st.SearchStrategy[int]) -> Event:
    at = draw(moments)
    zone = draw(st.sampled_from((*ZONES, *[""] * 9)))
    known = zone_of(zone) if zone else None
    return Event(
        event_id="",
        type=draw(st.sampled_from((*ORDINARY, *sorted(ENGAGED) * 3))),
        recipient_key=draw(st.sampled_from(PEOPLE)),
        occurred_at=at,
        received_at=at + draw(DELAYS),
        content_id=draw(st.sampled_from(ITEMS)),
        topics=tuple(draw(st.lists(st.sampled_from(TOPICS), unique=True, max_size=3))),
        value=draw(st.sampled_from((math.nan, 12.5, 0.01, 999.99, 0.0))),
        utc_offset_min=offset_at(known, at) if known else draw(st.sampled_from(OFFSETS)),
        timezone=zone,
        device=draw(st.sampled_from(("", "", "mobile", "desktop", "tablet", "a teapot"))),
        actor=draw(st.sampled_from((*[Actor.HUMAN] * 9, *Actor))),
        actor_reasons=draw(st.sampled_from(((), (), (EARLY,), ("agent", EARLY)))),
        properties=draw(st.sampled_from(({}, {}, {"country": "DE"}, {"country": "IS", "x": 1}))),
    )


def histories(moments: st.SearchStrategy[int]) -> st.SearchStrategy[list[Event]]:
    """Events in the order in which they became known."""
    many = st.lists(one_event(moments), min_size=1, max_size=30)
    return many.map(
        lambda events: [
            event._replace(event_id=str(i))
            for i, event in enumerate(sorted(events, key=lambda e: e.received_at))
        ]
    )


@st.composite
def with_labels(draw: st.DrawFn, histories: st.SearchStrategy[list[Event]]) -> list[Event]:
    """Some events are labelled anew, some of them twice, in the order in which it was learnt."""
    events = draw(histories)
    labels = []
    for number in range(draw(st.integers(1, 6))):
        target = draw(st.sampled_from(events))
        at = target.received_at + draw(DELAYS) + 1
        human = draw(st.booleans())
        labels.append(
            Event(
                f"label {number}", EventType.RELABELLED, target.recipient_key, at, at,
                content_id=target.content_id,
                actor=Actor.HUMAN if human else draw(st.sampled_from(list(Actor))),
                actor_reasons=draw(st.sampled_from(((), (EARLY,)))),
                properties={"event_id": target.event_id, "cohort": target.cohort},
            )
        )  # fmt: skip
    return sorted([*events, *labels], key=lambda event: event.received_at)


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


DEVICE_OF = {"mobile": "mobile", "tablet": "tablet", "desktop": "desktop"}
DOUBT_DAYS = 180


def is_doubtful(event: Event) -> bool:
    """A machine may have done it for the person."""
    early = event.type is EventType.CLICKED and EARLY in event.actor_reasons
    return event.actor is Actor.HUMAN and (event.type is EventType.OPENED or early)


def as_known(events: list[Event], at: int) -> list[Event]:
    """What had happened and was known before a moment, under the labels of that moment."""
    known = [e for e in events if max(e.occurred_at, e.received_at) < at]
    labels = {e.properties.get("event_id"): e for e in known if e.type is EventType.RELABELLED}
    found = []
    for e in known:
        if e.type in CORRECTING:
            continue
        label = labels.get(e.event_id)
        found.append(
            e._replace(actor=label.actor, actor_reasons=label.actor_reasons) if label else e
        )
    return found


def without_erased(events: list[Event]) -> list[Event]:
    """As if what an erasure covers had never been."""
    until: dict[str, int] = {}
    for e in events:
        if e.type is EventType.ERASED:
            until[e.recipient_key] = max(until.get(e.recipient_key, NEVER), e.occurred_at)
    return [
        e
        for e in events
        if e.type is EventType.ERASED or e.occurred_at > until.get(e.recipient_key, NEVER)
    ]


@dataclass
class Oracle:
    """What one key's features are at a moment, from the definitions alone."""

    view: FeatureView
    events: list[Event]
    at: int
    everybody: list[Event] = field(default_factory=list)  # what a pooled rate is shrunk to

    def __post_init__(self) -> None:
        self.events = as_known(self.events, self.at)

    def part(self, signal: Signal, *, doubtful: bool) -> list[Event]:
        """The sure or the doubtful events of a signal, whatever doubt says of them now."""
        found = [
            e
            for e in self.events
            if e.type in signal.types
            and e.actor in signal.actors
            and DEVICE_OF.get(e.device, "other") in signal.devices
            and not (signal.sure_only and is_doubtful(e))
        ]
        return [e for e in found if (is_doubtful(e) and bool(signal.doubted_by)) == doubtful]

    def is_void(self, signal: Signal) -> bool:
        against = [e for by in signal.doubted_by for e in self.part(by, doubtful=False)]
        return any(self.at - e.occurred_at <= DOUBT_DAYS * DAY_US for e in against)

    def of(self, signal: Signal) -> list[Event]:
        unsure = [] if self.is_void(signal) else self.part(signal, doubtful=True)
        return [*self.part(signal, doubtful=False), *unsure]

    def hours(self, events: list[Event]) -> set[datetime]:
        moments = (
            datetime.fromtimestamp(e.occurred_at // 1_000_000, UTC)
            + timedelta(minutes=e.utc_offset_min or 0)
            for e in events
        )
        return {moment.replace(minute=0, second=0) for moment in moments}

    def slot(self, counter: Decayed, *, doubtful: bool) -> float:
        events = self.part(counter.signal, doubtful=doubtful)
        if counter.signal.per_hour and doubtful:  # a sure hour takes the place of a doubtful one
            sure = self.hours(self.part(counter.signal, doubtful=False))
            return self.sum_of_hours(self.hours(events) - sure, counter.half_life)
        return self.total(counter, events)

    def faded(self, at: int, half_life: float) -> float:
        return 2.0 ** -((self.at - at) / 1e6 / half_life)

    def sum_of_hours(self, hours: set[datetime], half_life: float) -> float:
        return sum(self.faded(_us(hour), half_life) for hour in hours)

    def total(self, counter: Decayed, events: list[Event]) -> float:
        signal, half_life = counter.signal, counter.half_life
        if signal.per_hour:
            return self.sum_of_hours(self.hours(events), half_life)
        if signal.weight is Weight.VALUE:
            paid = [e for e in events if not math.isnan(e.value)]
            return sum(e.value * self.faded(e.occurred_at, half_life) for e in paid)
        return sum(self.faded(e.occurred_at, half_life) for e in events)

    def counter(self, counter: Decayed) -> float:
        return self.total(counter, self.of(counter.signal))

    def week(self) -> list[float]:
        return self._by_hour([(hour, _us(hour)) for hour in self.hours(self.of(self.view.active))])

    def exposed(self) -> list[float]:
        assert self.view.exposed is not None
        found = self.part(self.view.exposed, doubtful=False)
        return self._by_hour([(self.hours([e]).pop(), e.occurred_at) for e in found])

    def _by_hour(self, moments: list[tuple[datetime, int]]) -> list[float]:
        week = [0.0] * 168
        for hour, at in moments:
            week[hour.weekday() * 24 + hour.hour] += self.faded(
                at, self.view.rhythm_half_life or 1.0
            )
        return week

    def weeks_ago(self) -> set[int]:
        """How many weeks ago there was activity; a clock ahead of UTC makes no week of its own."""
        now = monday_of(datetime.fromtimestamp(self.at // 1_000_000, UTC))
        hours = self.hours(self.of(self.view.active))
        return {max((now - monday_of(hour)).days // 7, 0) for hour in hours}

    def rate(self, rate: Rate) -> float:
        prior = rate.prior
        if rate.pooled:
            whole = Oracle(self.view, self.everybody, self.at)
            prior = whole.rate(replace(rate, pooled=False))
        top = self.counter(rate.top) + prior * rate.prior_weight
        return top / (self.counter(rate.bottom) + rate.prior_weight)

    def last(self, signal: Signal) -> int:
        return max((e.occurred_at for e in self.of(signal)), default=NEVER)

    def first(self, signal: Signal) -> int:
        return min((e.occurred_at for e in self.of(signal)), default=-NEVER)

    def days_since(self, at: int) -> float:
        return math.nan if abs(at) == -NEVER else (self.at - at) / DAY_US

    def features(self) -> list[float]:
        return [self.feature(feature) for feature in self.view.features]

    def feature(self, feature: object) -> float:  # noqa: C901, PLR0911 - one line per kind
        match feature:
            case Decayed():
                return self.counter(feature)
            case Pace(counter=counter):
                return self.counter(counter) * math.log(2) * 7 * 86_400 / counter.half_life
            case Rate():
                return self.rate(feature)
            case Streak():
                weeks, ago = self.weeks_ago(), 0
                while ago in weeks or ago == 0:
                    ago += 1
                return ago - (0 not in weeks)
            case WeeksActive(weeks=back):
                return len([ago for ago in self.weeks_ago() if ago < back])
            case Recency(signal=signal):
                return self.days_since(self.last(signal))
            case Tenure(signal=signal):
                return self.days_since(self.first(signal))
            case MeanGap(total=total):
                gaps = self.counter(total) - 1
                span = (self.last(total.signal) - self.first(total.signal)) / DAY_US
                return span / gaps if gaps > 0.5 else math.nan
            case Overdue(total=total):
                usual = self.feature(MeanGap(total))
                return self.days_since(self.last(total.signal)) / max(usual, 0.25)
            case Velocity(fast=fast, slow=slow):
                rates = [self.counter(c) / (c.half_life / 86_400.0) + 1e-4 for c in (fast, slow)]
                return math.log(rates[0] / rates[1])
            case Pending(begun=begun, finished=finished):
                newest = self.last(begun)
                age = (self.at - newest) / DAY_US
                is_of_age = newest != NEVER and feature.after_days <= age <= feature.days
                return float(is_of_age and newest > self.last(finished))
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
                * self.faded(e.occurred_at, AFFINITIES[self.view.entity].half_life)
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


def monday_of(moment: datetime) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def oracles(view: FeatureView, events: list[Event], at: int) -> dict[str, Oracle]:
    key, events = KEY_OF[view.entity], without_erased(events)
    keys = {getattr(event, key) for event in events} - {""}
    found = {
        name: Oracle(view, [e for e in events if getattr(e, key) == name], at)
        for name in sorted(keys)
    }
    if layout_of(view).is_pooled and found:
        everybody = [e for e in events if getattr(e, key)]
        found[POOL] = Oracle(view, everybody, at)
        for oracle in found.values():
            oracle.everybody = everybody
    return found


# --- the comparison ---------------------------------------------------------------------------


def agree(
    reading: Reading, expected: list[Oracle], view: FeatureView, pool: Reading | None = None
) -> None:
    layout = layout_of(view)
    slots = [[o.slot(c, doubtful=doubtful) for c, doubtful in layout.slots] for o in expected]
    found = reading.values[:, : layout.n_counters]
    # What was counted and taken back leaves the last digits of what it was: 1e-12 of an event.
    np.testing.assert_allclose(found, np.array(slots), 1e-6, 1e-12)
    for times, pick, never in ((reading.last, max, NEVER), (reading.first, min, -NEVER)):
        wanted = [
            [
                pick((e.occurred_at for e in o.part(s, doubtful=doubtful)), default=never)
                for s, doubtful in layout.channels
            ]
            for o in expected
        ]
        np.testing.assert_array_equal(times, wanted)
    features = np.array([o.features() for o in expected])
    np.testing.assert_allclose(matrix(reading, view, pool), features, 1e-6, 1e-6)
    if layout.has_rhythm:
        weeks = np.array([o.week() for o in expected])
        np.testing.assert_allclose(activity(reading, layout), weeks, 1e-6, 1e-12)
        mails = np.array([o.exposed() for o in expected])
        np.testing.assert_allclose(exposure(reading, layout), mails, 1e-6, 1e-12)


def states_agree(states: dict[str, State], expected: dict[str, Oracle], view: FeatureView) -> None:
    assert set(states) == set(expected)
    layout, at = layout_of(view), next(iter(expected.values())).at
    pool = read([states[POOL]], at, layout) if layout.is_pooled else None
    agree(read([states[key] for key in expected], at, layout), [*expected.values()], view, pool)
    if view is not CONTENT:
        for key, oracle in expected.items():
            (found,) = affinities([states[key]], CANDIDATES, at, affinity=AFFINITIES[view.entity])
            np.testing.assert_allclose(found, oracle.affinity(), 1e-6, 1e-12)


def end_of(events: list[Event]) -> int:
    return max(event.received_at for event in events) + 1


def applied(events: list[Event], view: FeatureView) -> dict[str, State]:
    states: dict[str, State] = {}
    layout = layout_of(view)
    for event in events:
        if key := getattr(event, KEY_OF[view.entity]):
            for name in [key, POOL] if layout.is_pooled else [key]:
                state = states.setdefault(name, State())
                state.apply(event, layout=layout, affinity=AFFINITIES[view.entity])
    return states


def stored(store: PackedStore, view: FeatureView) -> dict[str, State]:
    keys = store.keys(view.entity, limit=1_000)
    blobs = store.get(view.entity, keys)
    layout = layout_of(view)
    return {k: unpack(blob, layout) for k, blob in zip(keys, blobs, strict=True) if blob}


@contextmanager
def log_and_store() -> Iterator[tuple[EventLog, PackedStore]]:
    with (
        tempfile.TemporaryDirectory() as root,
        EventLog(Path(root) / "log") as log,
        PackedStore(Path(root) / "online.sqlite") as store,
    ):
        yield log, store


def read_for(view: FeatureView, events: pl.LazyFrame) -> pl.LazyFrame:
    """The log as the bulk readers of a view are given it."""
    return cohort_events(events) if view is COHORT else events


def batch_reading(log: EventLog, view: FeatureView, spine: pl.DataFrame) -> Reading:
    layout = layout_of(view)
    table = batch.event_table(read_for(view, log.scan()), key=KEY_OF[view.entity], layout=layout)
    return batch.read_at(table, spine, layout)


def batch_readings(
    log: EventLog, view: FeatureView, spine: pl.DataFrame, expected: list[Oracle]
) -> tuple[Reading, list[Oracle], FeatureView, Reading | None]:
    """What `agree` compares: the rows, and all keys together at the same moments."""
    together = spine.with_columns(key=pl.lit(POOL))
    pool = batch_reading(log, view, together) if layout_of(view).is_pooled else None
    return batch_reading(log, view, spine), expected, view, pool


def batch_affinity(log: EventLog, key: str, at: int) -> np.ndarray:
    """Affinity features of CANDIDATES in bulk, as `training.dataset` asks for them."""
    added = affinity_events(log.scan(), layout=layout_of(RECIPIENT), affinity=AFFINITY)
    width = max(len(c.topics) for c in CANDIDATES)
    asked: list[int] = [TOTAL_KEY]
    for c in CANDIDATES:
        asked += [key_hash("content", c.content_id), *(key_hash("topic", t) for t in c.topics)]
    spine = pl.DataFrame({"key": key, "entry": asked, "at": at})
    values = affinity_at(added, spine, half_life=AFFINITY.half_life)
    interest = dict(zip(asked, values, strict=True))
    topics = np.full((len(CANDIDATES), width), np.nan)
    for row, c in enumerate(CANDIDATES):
        topics[row, : len(c.topics)] = [interest[key_hash("topic", t)] for t in c.topics]
    items = np.array([interest[key_hash("content", c.content_id)] for c in CANDIDATES])
    return affinity_matrix(np.full(len(CANDIDATES), interest[TOTAL_KEY]), topics, items)


def alike(one: State, other: State, at: int, layout: Layout) -> None:
    """The same to whoever reads them at a moment; the reference time is free."""
    for name in ("seen", "newest", "erased_at", "last", "first", "hours", "newest_hour"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("weeks", "zone_at", "zone_offset_min", "zone", "profile"):
        assert getattr(one, name) == getattr(other, name), name
    spans = layout.half_lives_s
    for mine, theirs, span in (
        (one.slots, other.slots, lambda slot: spans[slot]),
        (one.affinity, other.affinity, lambda _: AFFINITY.half_life),
    ):
        for key in mine.keys() | theirs.keys():
            found, wanted = (
                values.get(key, 0.0) * 2.0 ** (-(at - state.at) / 1e6 / span(key))
                for values, state in ((mine, one), (theirs, other))
            )
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
