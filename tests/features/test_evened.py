"""What mails invite is taken out of activity, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.evened import AGING, EXPOSED, evened

WEEK = 168
COUNTS = arrays(np.float64, (3, WEEK), elements=st.floats(0, 50))
MAILS = arrays(np.float64, (3, WEEK), elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 7.0]))


def exposed_by_hand(mails):
    """Every mail invites in every later hour of the week, as visible as its age lets it be."""
    exposed = np.zeros(WEEK)
    for hour in np.flatnonzero(mails):
        for age in range(WEEK):
            exposed[(hour + age) % WEEK] += mails[hour] * AGING[age]
    return exposed / exposed.mean() if exposed.any() else np.ones(WEEK)


@settings(max_examples=40)
@given(own=arrays(np.float64, (3, WEEK), elements=st.floats(0.01, 50)), mails=MAILS)
def test_a_rhythm_seen_through_a_timetable_is_found_again(own, mails):
    through = np.stack(
        [
            row * (1 - EXPOSED + EXPOSED * exposed_by_hand(m))
            for row, m in zip(own, mails, strict=True)
        ]
    )
    found = evened(through, mails)
    shares = own / own.sum(axis=1, keepdims=True)
    assert found / found.sum(axis=1, keepdims=True) == pytest.approx(shares, rel=1e-9)


@settings(max_examples=40)
@given(active=COUNTS, mails=MAILS, more=st.floats(0.1, 30))
def test_the_sum_is_kept_and_the_number_of_mails_says_nothing(active, mails, more):
    found = evened(active, mails)
    assert found.sum(axis=1) == pytest.approx(active.sum(axis=1), rel=1e-9)
    assert found == pytest.approx(evened(active, mails * more), rel=1e-9)
    assert ((found > 0) == (active > 0)).all()


@settings(max_examples=20)
@given(active=COUNTS)
def test_no_mails_and_even_mails_change_nothing(active):
    for mails in (np.zeros((3, WEEK)), np.full((3, WEEK), 2.5)):
        assert evened(active, mails) == pytest.approx(active, rel=1e-9, abs=1e-12)
