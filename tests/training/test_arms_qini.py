"""Qini: by hand, its laws, and women's mail of the public e-mail experiment."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.arms import choose, deal_out, qini_of
from training.arms_qini import Ranked, qini, qini_interval, rank_within
from training.arms_trial import trial_of

SEEDS = st.integers(0, 2**32 - 1)


def a_mailing(seed, *, n=400, p_arm=0.5):
    rng = np.random.default_rng(seed)
    uplift = rng.uniform(-0.2, 0.6, n)
    is_arm = rng.random(n) < p_arm
    outcome = (rng.random(n) < 0.3 + is_arm * uplift).astype(float)
    return uplift, is_arm, outcome, 1 / np.where(is_arm, p_arm, 1 - p_arm)


@pytest.mark.parametrize(
    ("is_arm", "outcome", "area"),
    [
        # Added, after each quarter: 1/2 1/2 1/2 1/2; 0 0 0 1/2; 1/2 0 -1/2 0.
        ([1, 0, 1, 0], [1, 0, 0, 0], 0.4375 - 0.25),
        ([0, 1, 0, 1], [0, 0, 0, 1], 0.0625 - 0.25),
        ([1, 0, 1, 0], [1, 1, 0, 0], 0.0),
    ],
)
def test_four_rows_by_hand(is_arm, outcome, area):
    arm, y = np.array(is_arm) == 1, np.array(outcome, float)
    assert qini(np.array([4.0, 3, 2, 1]), arm, y, np.full(4, 2.0)) == pytest.approx(area)


@given(SEEDS, st.sampled_from([1, 3, 400]))
def test_the_order_of_recipients_changes_nothing(seed, levels):
    uplift, is_arm, outcome, weight = a_mailing(seed)
    score = np.round(uplift * levels)
    order = np.random.default_rng(seed + 1).permutation(len(score))
    before = qini(score, is_arm, outcome, weight)
    after = qini(score[order], is_arm[order], outcome[order], weight[order])
    assert after == pytest.approx(before, abs=1e-12)


@given(SEEDS)
def test_only_the_order_of_scores_counts_and_saying_nothing_is_worth_nothing(seed):
    uplift, is_arm, outcome, weight = a_mailing(seed)
    before = qini(uplift, is_arm, outcome, weight)
    assert qini(np.exp(3 * uplift), is_arm, outcome, 7 * weight) == pytest.approx(before)
    assert qini(np.ones(400), is_arm, outcome, weight) == pytest.approx(0, abs=1e-12)


def test_a_random_score_is_worth_nothing_and_the_true_uplift_the_most():
    uplift, is_arm, outcome, weight = a_mailing(1, n=200_000)
    n = len(uplift)
    best = np.sort(uplift)[::-1].cumsum().mean() / n - uplift.mean() / 2
    found = qini(uplift, is_arm, outcome, weight)
    random = qini(np.random.default_rng(2).random(n), is_arm, outcome, weight)
    assert best == pytest.approx(0.8 / 12, rel=0.01)
    assert found == pytest.approx(best, rel=0.05)
    assert random == pytest.approx(0, abs=0.003)
    assert qini(-uplift, is_arm, outcome, weight) == pytest.approx(-best, rel=0.05)


def test_uneven_chances_do_not_tilt_it():
    context = np.random.default_rng(3).random(200_000)
    chance = 0.2 + 0.6 * context  # who is likelier to get the arm also earns more without it
    rng = np.random.default_rng(4)
    is_arm = rng.random(len(context)) < chance
    outcome = (rng.random(len(context)) < 0.2 + 0.5 * context).astype(float)
    weight = 1 / np.where(is_arm, chance, 1 - chance)
    assert qini(context, is_arm, outcome, weight) == pytest.approx(0, abs=0.004)
    assert abs(qini(context, is_arm, outcome, np.ones(len(context)))) > 0.01


def test_the_interval_of_a_random_score_holds_zero():
    held = 0
    for seed in range(60):
        _, is_arm, outcome, weight = a_mailing(seed)
        score = np.random.default_rng(seed + 1_000).random(400)
        found = qini_interval(
            [Ranked(score, is_arm, outcome)], weight, np.arange(400), seed=1, draws=100
        )
        held += found.low <= 0 <= found.high
    assert 52 <= held <= 60


def test_recipients_and_not_rows_are_drawn():
    uplift, is_arm, outcome, weight = a_mailing(5)
    one = Ranked(uplift, is_arm, outcome)
    twice = Ranked(*(np.tile(column, 2) for column in (uplift, is_arm, outcome)))
    keys = np.arange(400)
    single = qini_interval([one], weight, keys, seed=1)
    double = qini_interval([twice], np.tile(weight, 2), np.tile(keys, 2), seed=1)
    for name in ("value", "low", "high"):
        assert getattr(double, name) == pytest.approx(getattr(single, name))


@given(SEEDS)
def test_ranks_within_folds_do_not_know_the_level_of_a_fold(seed):
    rng = np.random.default_rng(seed)
    score, fold = rng.normal(size=60), rng.integers(0, 3, 60)
    found = rank_within(score, fold)
    np.testing.assert_array_equal(found, rank_within(score + 10.0 * fold, fold))
    for number in np.unique(fold):
        mine = fold == number
        assert found[mine].mean() == pytest.approx(0.5)
        np.testing.assert_array_equal(np.argsort(found[mine]), np.argsort(score[mine]))


# --- the public e-mail experiment -------------------------------------------------------------


@pytest.mark.shared
def test_mens_mail_goes_to_all_and_the_women_s_mail_is_ranked_well_on_hillstrom(shared_data):
    file = shared_data / "hillstrom" / "hillstrom_half.csv.gz"
    rows = pl.read_csv(file).with_row_index("recipient_key")
    rows = rows.rename({"segment": "arm", "visit": "outcome"}).drop("conversion", "spend")
    trial = trial_of(rows)
    deals = deal_out(trial, seed=7)
    choice = choose(trial, deals)
    assert choice.arms[choice.best] == "Mens E-Mail"
    assert choice.is_personal or "send `Mens E-Mail` to everybody" in choice.verdict
    assert choice.gain.low > -0.004
    numbers = (trial.number_of(arm) for arm in ("Womens E-Mail", "No E-Mail"))
    found = qini_of(trial, deals, *numbers, seed=7)
    assert found.value >= 0.0055
    assert found.low > 0
