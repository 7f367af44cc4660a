"""The bulk reader's parts: texts numbered, codes looked up, events placed, rows read in blocks."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import batch
from features.assemble import matrix
from features.coding import TEXTS, code_column, event_codes, few_texts
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.devices import Device
from features.events.schema import EARLY, TARGET, Actor, Event, EventType
from features.grouping import distinct
from features.layout import POOL, layout_of
from features.records import COLUMNS, EVENT, placed
from features.signals import CODES, code_of
from tests.features.oracle import DAY_US, KEY_OF, NIGHTS, log_and_store

WORDS = st.sampled_from(
    ["", "a", "twelve chars", "more than twelve", "more than thirteen", "ü" * 9]
)


@given(st.lists(WORDS), st.integers(0, 9), st.booleans())
def test_numbered_texts_are_the_column_again(texts, begin, is_long):
    column = pl.Series(texts * (300 if is_long else 1), dtype=pl.String).slice(begin)
    number, few = few_texts(column)
    assert few.gather(number).to_list() == column.to_list()
    assert len(few) <= len(column)


@pytest.mark.parametrize("n", [1, 1_024, 1_025, 50_000])
def test_pairs_are_numbered_by_their_first_appearance_however_many_there_are(n):
    rng = np.random.default_rng(n)
    words = np.stack([np.arange(n) // 7 << 32, np.arange(n) % 7], axis=1).astype(np.uint64)
    pairs = words[rng.integers(0, n, 3 * n)]
    number, first = distinct(pairs)
    np.testing.assert_array_equal(pairs[first][number], pairs)
    assert len(first) == len(np.unique(pairs, axis=0))
    assert np.all(np.diff(first) > 0)
    assert np.all(first[number] <= np.arange(len(pairs)))


def test_every_code_is_the_one_that_a_single_event_gets():
    words = {
        Device.OTHER: "",
        Device.MOBILE: "iPhone",
        Device.TABLET: "iPad",
        Device.DESKTOP: "X11",
    }
    events = [
        Event("", c.type, "ann", 0, 0, actor=c.actor, device=words[c.device],
              actor_reasons=("other", EARLY) if c.is_early else ())
        for c in CODES
    ]  # fmt: skip
    told = pl.DataFrame(
        [(e.type, e.actor, str(list(e.actor_reasons)).replace("'", '"'), e.device) for e in events],
        schema=dict.fromkeys(TEXTS, pl.String), orient="row",
    )  # fmt: skip
    assert event_codes(told).to_list() == [code_of(e) for e in events] == [*range(len(CODES))]
    assert told.lazy().select(code_column()).collect().to_series().to_list() == [*range(len(CODES))]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 5))), st.integers(0))
def test_events_are_placed_by_key_and_moment_known_and_otherwise_stay_in_order(events, cut):
    number, occurred, received = np.array(events, np.int64).reshape(-1, 3).T
    columns = dict.fromkeys(COLUMNS, np.arange(len(events), dtype=np.int64))
    columns |= {"number": number, "occurred_at": occurred, "received_at": received}
    parts = np.split(np.stack([*columns.values()]), [cut % (len(events) + 1)], axis=1)
    found, start = placed([list(part) for part in parts], 5)
    known = np.maximum(occurred, received)
    order = np.lexsort((known, number))
    assert EVENT.itemsize == 32
    np.testing.assert_array_equal(found["row"], order)
    np.testing.assert_array_equal(found["known_at"], known[order])
    np.testing.assert_array_equal(found["code"], order)
    np.testing.assert_array_equal(start, [*np.searchsorted(number[order], range(6)), len(events)])


def _some_events(n: int) -> list[Event]:
    rng = np.random.default_rng(4)
    kinds = [EventType.DELIVERED, EventType.OPENED, EventType.CLICKED, EventType.PURCHASED]
    events = []
    for i in range(n):
        at = NIGHTS[0] + int(rng.integers(0, 60 * DAY_US))
        late = int(rng.integers(0, 9 * DAY_US)) if i % 5 == 0 else 0
        kind, who = kinds[rng.integers(len(kinds))], f"person {rng.integers(20)}"
        events.append(Event(str(i), kind, who, at, at + late, content_id=f"item {i % 9}"))
    corrected = [e for e in events if e.type is EventType.CLICKED][:30:3]
    labels = [
        e._replace(
            event_id=f"label {e.event_id}", type=EventType.RELABELLED, actor=Actor.MACHINE,
            received_at=e.received_at + 5 * DAY_US, properties={TARGET: e.event_id},
        )
        for e in corrected
    ]  # fmt: skip
    return events + labels


@pytest.mark.parametrize("rows", [1, 7, 2_000])
@pytest.mark.parametrize("view", [RECIPIENT, CONTENT], ids=["recipient", "content"])
def test_features_read_some_keys_at_a_time_are_those_read_at_once(view, rows, monkeypatch):
    monkeypatch.setattr(batch, "ROWS", rows)
    rng, layout, key = np.random.default_rng(5), layout_of(view), KEY_OF[view.entity]
    events = _some_events(400)
    keys = [*sorted({getattr(e, key) for e in events}), "nobody"]
    spine = pl.DataFrame(
        {
            "key": rng.choice(keys, 500),
            "at": NIGHTS[0] + rng.integers(-DAY_US, 80 * DAY_US, 500),
        }
    )
    with log_and_store() as (log, _):
        log.append(events)
        table = batch.event_table(log.scan(), key=key, layout=layout)
    pool = None
    if layout.is_pooled:
        together = spine.with_columns(key=pl.lit(POOL))
        pool = batch.read_at(table, together, layout, with_weeks=False)
    at_once = matrix(batch.read_at(table, spine, layout, with_weeks=False), view, pool)
    found = batch.features_at(table, spine, view, pool=pool)
    assert np.isfinite(found).any()
    np.testing.assert_array_equal(found, at_once)


def test_a_log_without_events_reads_as_nothing():
    layout = layout_of(RECIPIENT)
    spine = pl.DataFrame({"key": ["ann"], "at": [NIGHTS[0]]})
    with log_and_store() as (log, _):
        table = batch.event_table(log.scan(), key="recipient_key", layout=layout)
    assert len(table.keys) == 0
    assert not batch.read_at(table, spine, layout).values.any()
    assert batch.features_at(table, spine.clear(), RECIPIENT).shape == (0, len(RECIPIENT.names))
