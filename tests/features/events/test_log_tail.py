"""What was just appended is at hand, and is what everybody else reads."""

from hypothesis import given
from hypothesis import strategies as st

from features.events import log as module
from features.events.log import EventLog
from features.events.schema import Event, EventType

BATCHES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=12)


def batch(start: int, n: int) -> list[Event]:
    return [Event(f"e{start + i}", EventType.CLICKED, "r", start + i, start + i) for i in range(n)]


@given(batches=BATCHES, after=st.integers(0, 40), limit=st.integers(1, 20), kept=st.integers(1, 9))
def test_every_writer_reads_the_same_events_wherever_they_were_appended(
    tmp_path_factory, batches, after, limit, kept
):
    root = tmp_path_factory.mktemp("log")
    before, module.TAIL = module.TAIL, kept
    logs = [EventLog(root) for _ in range(3)]
    try:
        made: list[Event] = []
        for writer, n in batches:
            new = batch(len(made), n)
            logs[writer].append([*new, *made[-1:]])  # and one that is known
            made += new
        whole = list(enumerate(made, start=1))
        for log in logs:
            assert repr(log.read(limit=99)) == repr(whole)
            found = log.read(after=after, limit=limit)
            assert repr(found) == repr(whole[after : after + len(found)])
            assert len(found) <= limit
            assert found or after >= len(made)
    finally:
        module.TAIL = before
        for log in logs:
            log.close()
