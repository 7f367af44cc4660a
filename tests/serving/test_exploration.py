"""Laws of exploration: what is logged as a chance is how often it happens; cold items get in."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.asks import Ask
from serving.exploration import ENOUGH, FirstPlace, exploration_shares, first_place
from serving.policy import Policy

ITEMS = {"best": 5_000.0, "old": 900.0, "older": 300.0, "new": 12.0, "newest": 0.0}
DECISIONS = [Policy().id_of(Ask(f"r{n}", send_id=f"s{n % 7}")) for n in range(40_000)]

CROWDS = st.dictionaries(
    st.text(max_size=5), st.floats(0, 1e4) | st.sampled_from([0.0, 299.99, ENOUGH, np.nan, np.inf]),
    min_size=1, max_size=40,
)  # fmt: skip


def first_of(one: str, best: str, delivered, *, epsilon: float) -> FirstPlace:
    return first_place(one, best, exploration_shares(delivered), epsilon=epsilon)


@pytest.fixture(scope="module", params=[0.05, 0.5, 1.0])
def shown(request):
    """Forty thousand decisions with the same candidates."""
    epsilon = request.param
    return epsilon, [first_of(one, "best", ITEMS, epsilon=epsilon) for one in DECISIONS]


def test_over_many_decisions_each_item_is_first_as_often_as_its_logged_chance_says(shown):
    _, found = shown
    chance = {first.content_id: first.propensity for first in found}
    assert set(chance) == set(ITEMS)
    assert sum(chance.values()) == pytest.approx(1.0, abs=1e-12)
    assert {(first.content_id, first.propensity) for first in found} == set(chance.items())
    times = Counter(first.content_id for first in found)
    for item, p in chance.items():
        spread = (p * (1 - p) / len(found)) ** 0.5
        assert abs(times[item] / len(found) - p) < 4 * spread + 1e-12


def test_each_cold_item_gets_its_share_of_the_first_places(shown):
    epsilon, found = shown
    times = Counter(first.content_id for first in found)
    for item in ("new", "newest"):  # two of five: a half evenly to five, a half evenly to two
        p = epsilon * (0.5 / 5 + 0.5 / 2)
        assert times[item] / len(found) > p - 4 * (p / len(found)) ** 0.5
        assert times[item] > 2 * times["old"]


def test_values_weighted_by_the_logged_chances_are_those_of_any_item_alone(shown):
    """What the propensities are for: inverse weights give back every item's own mean."""
    _, found = shown
    chosen = np.array([list(ITEMS).index(first.content_id) for first in found])
    weight = 1 / np.array([first.propensity for first in found])
    for number in range(len(ITEMS)):
        estimates = weight * (chosen == number)
        assert abs(estimates.mean() - 1.0) < 4 * estimates.std() / len(found) ** 0.5


def test_as_often_as_epsilon_says_the_first_place_is_drawn(shown):
    epsilon, found = shown
    share = np.mean([first.is_explored for first in found])
    assert abs(share - epsilon) <= 4 * (epsilon * (1 - epsilon) / len(found)) ** 0.5
    assert all(first.is_explored for first in found if first.content_id != "best")


@given(CROWDS, st.floats(0, 1), st.integers(0, 2**64))
def test_chances_sum_to_one_and_nobody_is_left_without(delivered, epsilon, number):
    shares = exploration_shares(delivered)
    n, cold = len(delivered), [i for i, times in delivered.items() if not times >= ENOUGH]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= 0.5 / n
    for item in cold:
        assert shares[item] == pytest.approx(0.5 / n + 0.5 / len(cold))
    best = min(delivered)
    first = first_of(f"{number:032x}", best, delivered, epsilon=epsilon)
    assert first.content_id in delivered
    chance = epsilon * shares[first.content_id] + (1 - epsilon) * (first.content_id == best)
    assert first.propensity == pytest.approx(chance)
    assert 0 < first.propensity <= 1.0 + 1e-12
    turned = dict(reversed(delivered.items()))
    assert first_of(f"{number:032x}", best, turned, epsilon=epsilon) == first


@given(CROWDS, st.integers(0, 2**64))
def test_without_epsilon_the_best_is_first_for_sure(delivered, number):
    first = first_of(f"{number:032x}", min(delivered), delivered, epsilon=0.0)
    assert (first.content_id, first.propensity, first.is_explored) == (min(delivered), 1.0, False)


@given(st.integers(0, 2**64))
def test_a_candidate_that_was_not_drawn_may_go_and_the_drawn_one_stays(number):
    one = f"{number:032x}"
    warm = dict.fromkeys("abcdef", ENOUGH)
    first = first_of(one, "a", warm, epsilon=1.0).content_id
    for gone in set(warm) - {first}:
        left = {item: times for item, times in warm.items() if item != gone}
        assert first_of(one, min(left), left, epsilon=1.0).content_id == first


def test_an_item_named_like_a_purpose_is_drawn_like_any_other():
    names = dict.fromkeys(("whether", "which", ""), ENOUGH)
    times = Counter(
        first_of(one, "which", names, epsilon=1.0).content_id for one in DECISIONS[:6_000]
    )
    assert min(times.values()) > 1_800
