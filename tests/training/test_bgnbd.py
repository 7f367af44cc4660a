"""Laws of BG/NBD; the numbers of its paper are in `test_cdnow`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.bgnbd import BgNbd, fit_bgnbd

MODELS = st.builds(
    BgNbd, st.floats(0.1, 5.0), st.floats(0.5, 50.0), st.floats(0.1, 5.0), st.floats(0.1, 5.0)
)
PEOPLE = st.tuples(st.integers(0, 200), st.floats(0.0, 1.0), st.floats(0.1, 500.0)).map(
    lambda p: (np.array([float(p[0])]), np.array([p[1] * p[2] * (p[0] > 0)]), np.array([p[2]]))
)


@given(MODELS, PEOPLE, st.floats(0.1, 100.0), st.floats(0.1, 100.0))
def test_silence_is_a_probability_that_falls_with_the_span(model, person, span, more):
    alive = model.p_alive(*person)
    assert np.all((alive >= 0) & (alive <= 1))
    short, long = model.p_silent(span, *person), model.p_silent(span + more, *person)
    assert np.all((long >= 0) & (short <= 1) & (long <= short))
    assert np.all(long >= 1 - alive - 1e-12)


@given(MODELS, PEOPLE, st.floats(0.1, 100.0))
def test_the_longer_the_silence_the_less_likely_alive(model, person, wait):
    repeats, newest, age = person
    assert np.all(model.p_alive(repeats, newest, age + wait) <= model.p_alive(*person) + 1e-12)
    if repeats[0] == 0:
        assert model.p_alive(*person) == 1.0


def test_people_drawn_from_a_model_give_it_back():
    rng = np.random.default_rng(1)
    n, truth = 6_000, BgNbd(r=1.0, alpha=6.0, a=1.0, b=3.0)
    rate, leaves = rng.gamma(truth.r, 1 / truth.alpha, n), rng.beta(truth.a, truth.b, n)
    age = rng.uniform(20.0, 60.0, n)
    repeats, newest, at, is_alive = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool)
    while is_alive.any():
        at[is_alive] += rng.exponential(1 / rate[is_alive])
        is_alive &= at < age
        repeats[is_alive] += 1
        newest[is_alive] = at[is_alive]
        is_alive &= rng.random(n) > leaves
    found = fit_bgnbd(repeats, newest, age)

    assert found.r == pytest.approx(truth.r, rel=0.15)
    assert found.alpha == pytest.approx(truth.alpha, rel=0.15)
    assert found.a / (found.a + found.b) == pytest.approx(0.25, abs=0.05)
