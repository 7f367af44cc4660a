"""Rows stored a hundred at a time are the rows stored one by one."""

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.sqlite_rows import TOGETHER, insert_rows

INTO = "INSERT INTO t (key, seen)"
NEWER = "ON CONFLICT (key) DO UPDATE SET seen = excluded.seen WHERE excluded.seen >= t.seen"
SIZES = st.sampled_from([0, 1, TOGETHER - 1, TOGETHER, TOGETHER + 1, 2 * TOGETHER, 250])


@settings(max_examples=30, deadline=None)
@given(n=SIZES, random=st.randoms())
def test_any_number_of_rows_in_order_the_last_word_counts(n, random):
    rows = [(f"k{random.randrange(60)}", random.randrange(9)) for _ in range(n)]
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (key TEXT PRIMARY KEY, seen INTEGER)")
        insert_rows(connection, INTO, rows, then=NEWER)
        found = dict(connection.execute("SELECT key, seen FROM t"))
    assert found == {key: max(s for k, s in rows if k == key) for key, _ in rows}


@settings(max_examples=15, deadline=None)
@given(n=SIZES, again=st.integers(0, 40))
def test_offsets_of_long_batches_are_those_of_their_events(tmp_path_factory, n, again):
    at = 1_760_000_000_000_000
    first = [Event(str(i), EventType.SENT, "r", at, at) for i in range(again)]
    batch = [Event(str(i), EventType.SENT, "r", at + i, at) for i in range(n)]
    with EventLog(tmp_path_factory.mktemp("log")) as log:
        log.append(first)
        offsets = log.append(batch)
        stored = {event.event_id: offset for offset, event in log.read()}
    assert offsets == [None if i < again else stored[str(i)] for i in range(n)]
    assert sorted(stored.values()) == list(range(1, max(n, again) + 1))
