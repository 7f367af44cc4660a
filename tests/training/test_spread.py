"""Laws of the spread between people: planted ones are found, and evidence narrows it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from training.spread import Spread, fit_spread, interval, middle


def mails(level: float, halved_at: float, n_people: int, seed: int):
    """Ten mails a person, whose mean chance the link has right."""
    rng = np.random.default_rng(seed)
    active = rng.gamma(0.7, 20.0, n_people)
    z = logit(rng.uniform(0.05, 0.4, n_people))
    variance = Spread(level, halved_at).variance(active)
    own = middle(z, variance) + np.sqrt(variance) * rng.normal(size=n_people)
    people = np.repeat(np.arange(n_people), 10)
    engaged = (rng.random(len(people)) < expit(own)[people]).astype(float)
    return z, own, active, people, engaged


@pytest.mark.parametrize(("level", "halved_at"), [(0.5, 1e6), (1.3, 1e6), (1.8, 10.0)])
def test_a_planted_spread_is_found(level, halved_at):
    z, _, active, people, engaged = mails(level, halved_at, 3_000, 1)
    found = fit_spread(z[people], engaged, active[people], people)
    sd = np.sqrt(Spread(level, halved_at).variance(active)).mean()
    assert np.sqrt(found.variance(active)).mean() == pytest.approx(sd, abs=0.25)


@pytest.mark.parametrize(("level", "halved_at"), [(0.7, 1e6), (1.5, 10.0)])
def test_nine_in_ten_people_lie_in_the_interval(level, halved_at):
    z, own, active, people, engaged = mails(level, halved_at, 3_000, 2)
    found = fit_spread(z[people], engaged, active[people], people)
    low, high = interval(z, found.variance(active), np.zeros(len(z)))
    p = expit(own)
    assert np.mean((low <= p) & (p <= high)) == pytest.approx(0.9, abs=0.05)
    assert np.mean(p) == pytest.approx(np.mean(expit(z)), abs=0.02)  # the mean stays the link's


@given(st.floats(-6, 3), st.floats(0.1, 2.5), st.floats(0, 500), st.floats(0, 2))
def test_an_interval_holds_the_mean_and_more_evidence_narrows_it(z, level, active, unsure):
    spread, log_odds = Spread(level, 30.0), np.array([z])
    widths = []
    for hours in (active, active + 50):
        between = spread.variance(np.array([hours]))
        low, high = interval(log_odds, between, np.array([unsure]))
        assert 0 <= low[0] <= expit(z) <= high[0] <= 1
        widths.append(logit(high[0]) - logit(low[0]))
    assert widths[1] <= widths[0] + 1e-9
