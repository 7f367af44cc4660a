"""Rounds of wishes end in what choosing one after the other ends in, whatever people prefer."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.schema import HOUR_US
from pipelines.errors import ThrottleUnkeptError
from pipelines.plan_run import job_of
from pipelines.plan_wishes import SCHEMA, Wishes
from pipelines.send_file import read_send
from serving.settings import ServingSettings
from serving.throttle import Throttle

HOURS = [hour * HOUR_US for hour in range(1, 6)]
LATER = 99 * HOUR_US  # for whom no hour of the window has room


@st.composite
def people(draw):
    """Of each the hours in the order of liking, what is at stake, and whether mail goes out."""
    one = st.tuples(
        st.lists(st.sampled_from(HOURS), min_size=1, unique=True),
        st.sampled_from([0.0, 0.1, 0.2, 0.5]),
        st.booleans(),
    )
    return draw(st.lists(one, min_size=1, max_size=25))


def wished(one, full):
    return next((hour for hour in one[0] if hour not in full), LATER)


def one_by_one(crowd, throttle):
    """As `serving.throttle` has it: each in turn, among the hours that are not full yet."""
    taken = dict(throttle.planned)
    chosen = {}
    for place in sorted(range(len(crowd)), key=lambda i: -crowd[i][1]):
        full = {hour for hour, mails in taken.items() if mails >= throttle.per_hour}
        chosen[place] = wished(crowd[place], full)
        taken[chosen[place]] = taken.get(chosen[place], 0) + crowd[place][2]
    return [chosen[place] for place in range(len(crowd))]


def in_rounds(crowd, throttle):
    def table(places, full):
        rows = [(wished(crowd[i], full.get(i, ())), crowd[i][2], crowd[i][1]) for i in places]
        columns = zip(zip(*rows, strict=True), SCHEMA, strict=True)
        return pa.Table.from_arrays([pa.array(c, k.type) for c, k in columns], schema=SCHEMA)

    wishes = Wishes.of(table(range(len(crowd)), {}))
    while places := wishes.turned_away(throttle):
        wishes.change(places, table(places, wishes.full))
    return wishes.hour.tolist()


@given(
    people(),
    st.integers(1, 6),
    st.dictionaries(st.sampled_from(HOURS), st.integers(0, 8), max_size=3),
)
def test_rounds_end_where_turns_end(crowd, per_hour, planned):
    throttle = Throttle(per_hour, planned)
    assert in_rounds(crowd, throttle) == one_by_one(crowd, throttle)


def test_those_who_would_lose_most_keep_their_hour_and_the_rest_go_where_there_is_room():
    crowd = [([HOURS[0], HOURS[1]], i / 10, True) for i in range(9)]
    throttle = Throttle(3, {HOURS[0]: 1, HOURS[2]: 99})
    later, second, first = [LATER] * 4, [HOURS[1]] * 3, [HOURS[0]] * 2
    assert in_rounds(crowd, throttle) == [*later, *second, *first]


def test_tasks_that_know_nothing_of_each_other_are_given_no_throttle(tmp_path):
    file = tmp_path / "send.yaml"
    file.write_text("send_id: a\nthrottle: {per_hour: 5}")
    with pytest.raises(ThrottleUnkeptError, match="full_hours"):
        job_of(read_send(file), ServingSettings(data_dir=tmp_path), as_of=0)
