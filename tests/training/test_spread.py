"""Laws of the spread between people: planted ones are found, and evidence narrows it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from training.spread import NEVER_HALVED, Spread, fit_spread, interval, middle

PLANTED = {
    "alike": Spread(0.4, NEVER_HALVED, -9.0, 0.0),
    "different": Spread(1.3, NEVER_HALVED, -9.0, 0.0),
    "told apart by evidence": Spread(1.8, 10.0, -9.0, 0.0),
    "some gone": Spread(0.5, NEVER_HALVED, 0.0, 1.5),
}


def mails(spread: Spread, n_people: int, seed: int):
    """Ten mails a person, whose mean chance the link has right; truth, and what is fitted."""
    rng = np.random.default_rng(seed)
    active = rng.gamma(0.7, 20.0, n_people)
    z = logit(rng.uniform(0.01, 0.4, n_people))
    variance, gone = spread.variance(active), spread.p_gone(z)
    own = middle(z, variance, gone) + np.sqrt(variance) * rng.normal(size=n_people)
    p = expit(own) * (rng.random(n_people) >= gone)
    people = np.repeat(np.arange(n_people), 10)
    engaged = (rng.random(len(people)) < p[people]).astype(float)
    return z, p, active, fit_spread(z[people], z, engaged, active=active, people=people)


@pytest.mark.parametrize("spread", PLANTED.values(), ids=PLANTED)
def test_nine_in_ten_people_lie_in_the_interval_of_a_planted_spread(spread):
    z, p, active, found = mails(spread, 600, 1)
    low, high = interval(z, found.variance(active), np.zeros(len(z)), found.p_gone(z))
    inside = (low <= p) & (p <= high)
    assert inside.mean() == pytest.approx(0.9, abs=0.06)
    assert p.mean() == pytest.approx(expit(z).mean(), abs=0.02)  # the mean stays the link's
    wide, narrow = interval(z, np.full(len(z), 0.01), np.zeros(len(z)), np.full(len(z), 1e-4))
    assert ((wide <= p) & (p <= narrow)).mean() < inside.mean() - 0.2


def test_people_who_differ_more_are_found_to():
    sds = [
        np.sqrt(found.variance(active)).mean()
        for _, _, active, found in (mails(PLANTED[name], 600, 2) for name in PLANTED)
    ]
    assert sds[0] + 0.2 < min(sds[1:3])
    assert sds[1] == pytest.approx(1.3, abs=0.25)


@given(st.floats(-6, 3), st.floats(0.1, 2.5), st.floats(0, 500), st.floats(0, 2))
def test_an_interval_holds_the_mean_and_more_evidence_narrows_it(z, level, active, unsure):
    spread, log_odds = Spread(level, 30.0, -9.0, 0.0), np.array([z])
    widths = []
    for hours in (active, active + 50):
        between = spread.variance(np.array([hours]))
        low, high = interval(log_odds, between, np.array([unsure]), np.zeros(1))
        assert 0 <= low[0] <= expit(z) <= high[0] <= 1
        widths.append(logit(high[0]) - logit(low[0]))
    assert widths[1] <= widths[0] + 1e-9


@given(st.floats(-6, 0), st.floats(0.06, 0.8))
def test_who_may_have_left_may_have_no_chance_at_all(z, gone):
    low, high = interval(np.array([z]), np.array([0.5]), np.array([0.0]), np.array([gone]))
    assert low[0] == 0.0 < expit(z) <= high[0]
