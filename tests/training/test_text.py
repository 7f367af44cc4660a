"""Texts that do better: laws on made-up words, and headlines of tests that were never seen."""

import numpy as np
import pytest

from tests.training.upworthy import headline_pairs, methods, told_apart
from training.errors import TooFewRowsError
from training.text import fit_text_choice, grouped
from training.text_trial import BY_LENGTH, BY_WORDS, put_right

WORDS = [f"word{n}" for n in range(20)]


def made_up(seed, n):
    """Pairs of six words each; the first eight words are what wins."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(WORDS), (2, n, 6))
    strength = (drawn < 8).sum(axis=2)
    texts = [[" ".join(WORDS[w] for w in row) for row in side] for side in drawn]
    has_won = strength[0] + rng.normal(0, 0.5, n) > strength[1]
    return texts[0], texts[1], has_won, np.abs(strength[0] - strength[1]) + 1.0


def test_what_wins_is_found_and_carries_over_to_texts_never_seen():
    model = fit_text_choice(*made_up(1, 800))
    first, second, has_won, _ = made_up(2, 400)
    assert ((model.p_first(first, second) > 0.5) == has_won).mean() > 0.8


def test_swapping_two_texts_swaps_their_chances_and_a_text_ties_with_itself():
    model = fit_text_choice(*made_up(1, 300))
    first, second, _, _ = made_up(3, 50)
    ahead, behind = model.p_first(first, second), model.p_first(second, first)
    np.testing.assert_allclose(ahead + behind, 1.0)
    assert np.ptp(ahead) > 0.1
    np.testing.assert_allclose(model.p_first(first, first), 0.5)
    assert model.p_first(["zzz"], ["???"]) == 0.5  # nothing known of either


def test_too_little_to_compare_is_refused_with_the_remedy():
    first, second, has_won, weight = made_up(1, 50)
    with pytest.raises(TooFewRowsError, match="50 comparisons"):
        fit_text_choice(first, second, has_won, weight)
    first, second, has_won, weight = made_up(1, 200)
    with pytest.raises(TooFewRowsError, match="200 won by the first"):
        fit_text_choice(first, second, np.ones_like(has_won), weight)


def test_comparisons_of_two_groups_share_neither_a_text_nor_a_test():
    rng = np.random.default_rng(4)
    texts, tests = rng.integers(0, 300, (2, 70)).astype(str), rng.integers(0, 90, 70).astype(str)
    group = grouped(*texts, tests)
    assert 1 < len(set(group)) < 70
    for number in set(group):
        inside, outside = group == number, group != number
        assert not set(texts[:, inside].ravel()) & set(texts[:, outside].ravel())
        assert not set(tests[inside]) & set(tests[outside])
    assert len(set(grouped(["a", "b", "x"], ["b", "c", "y"], ["1", "2", "3"]))) == 2


@pytest.mark.long
@pytest.mark.shared
def test_headlines_of_tests_never_seen_are_told_apart(shared_data):
    held, lead = methods(headline_pairs(shared_data / "upworthy"), range(1))
    told = put_right(*told_apart(held, lead))
    mine, longer = told[BY_WORDS], told[BY_LENGTH]
    assert mine.value >= 0.62
    assert mine.low > max(longer.value, told["random"].value)
    assert told["random"].low < 0.5 < told["random"].high
    everything = put_right(held, lead)[BY_WORDS]
    assert 0.5 < everything.low < everything.value < mine.value
