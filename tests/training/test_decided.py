"""What would be decided otherwise: changes that matter, near equals that do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.decided import HOURS, MATTERS, of_bands, of_choices, of_hours

N, K = 400, 10


def people(n):
    return [f"r{i}" for i in range(n)]


def drawn(seed, n=N, k=K):
    return np.random.default_rng(seed).uniform(0.01, 0.2, (n, k))


@given(st.integers(0, 99), st.floats(0.01, 5.0))
def test_the_same_order_is_no_change_however_the_numbers_are_scaled(seed, times):
    old = drawn(seed)
    assert of_choices("item", times * old, old, people(N)).otherwise.value == 0.0


def test_a_change_counts_where_the_champion_gives_the_new_choice_surely_less():
    old = np.tile([0.100, 0.0, 0.0], (4, 1))
    old[:, 1] = [0.100, 0.0951, 0.0949, 0.01]
    own = np.tile([0.1, 0.2, 0.0], (4, 1))  # the second, for all four
    told = of_choices("item", own, old, people(4))
    assert (told.n, told.otherwise.value) == (4, 0.5)
    assert MATTERS == 0.05


def test_the_interval_is_over_people_not_moments():
    """Ten moments of one person change together."""
    old = np.repeat(drawn(1, 40), 10, axis=0)
    own = np.repeat(drawn(2, 40), 10, axis=0)
    apart = of_choices("item", own, old, people(400)).otherwise
    together = of_choices("item", own, old, [f"r{i // 10}" for i in range(400)]).otherwise
    assert together.value == apart.value
    assert together.se > 2 * apart.se


def test_hours_are_compared_over_the_week_and_spread_over_the_day():
    old = np.zeros((168, 168))
    old[np.arange(168), np.arange(168)] = 0.2  # a different hour for everybody
    crowd = np.zeros((168, 168))
    crowd[:, 9::24] = 0.2  # at nine, of whatever day
    told = of_hours(crowd, old, people(168))
    assert told.otherwise.value == pytest.approx(1 - 1 / 168)
    assert told.entropy == 0.0
    assert told.champion_entropy == pytest.approx(np.log(HOURS))


def test_a_band_changes_at_its_edges():
    old = np.array([0.349, 0.36, 0.64, 0.9])
    own = np.array([0.351, 0.64, 0.66, 0.7])
    assert of_bands(own, old, people(4)).otherwise.value == 0.5
