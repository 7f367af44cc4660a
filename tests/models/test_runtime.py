"""A row's answer is its own: the same to the bit alone, in company, and in whatever place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import load_bundle
from models.runtime import LANES, ROWS
from models.specs import BY_NAME

MANY = ROWS + 37
sizes = st.lists(st.integers(1, 23), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=sorted(BY_NAME))
def asked(request, bundle_folders):
    session = load_bundle(bundle_folders[request.param], name=request.param).session
    rng = np.random.default_rng(4)
    rows = rng.gamma(1.0, 2.0, (MANY, len(BY_NAME[request.param].inputs))).astype(np.float32)
    return session, rows, session.run(rows)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes, begin=st.integers(0, MANY - 12 * 23))
def test_it_is_the_same_in_any_company(asked, sizes, begin):
    session, rows, together = asked
    for size in sizes:
        part = session.run(rows[begin : begin + size])
        for name, answer in part.items():
            assert answer.shape == (size, together[name].shape[1])
            np.testing.assert_array_equal(answer, together[name][begin : begin + size])
        begin += size


def test_more_than_are_run_at_once_keep_their_order(asked):
    session, rows, together = asked
    assert ROWS % LANES == 0
    for name, answer in session.run(rows[::-1]).items():
        np.testing.assert_array_equal(answer[::-1], together[name])


def test_of_none_there_is_nothing_to_say(asked):
    session, rows, together = asked
    for name, answer in session.run(rows[:0]).items():
        assert answer.shape == (0, together[name].shape[1])
