"""Arms: the rule in worlds with a known truth, the bound, refusals; the public e-mail test."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from training.arms import choose, deal_out, effect_of, qini_of
from training.arms_context import MAX_VALUES, encode
from training.arms_trial import Trial, trial_of
from training.off_policy_log import Logged, PolicyLogError

CHANCES = np.array([0.5, 0.3, 0.2])


def world(seed, *, apart, n=600, chances=CHANCES):
    """A mailing with rates 0.2, 0.45, 0.3 on average, and what each arm would truly earn.

    With `apart` above zero the sign of one context column says which of two arms is better.
    """
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(n, 2))
    side = np.sign(context[:, 0])
    p = np.c_[np.full(n, 0.2), 0.45 + apart * side, 0.3 - apart * side]
    p += 0.05 * (context[:, 1:] > 0)
    arm = rng.choice(3, n, p=chances)
    outcome = (rng.random(n) < p[np.arange(n), arm]).astype(float)
    logged = Logged(arm, outcome, chances[arm], np.arange(n))
    return Trial(("none", "one", "two"), logged, context, ("side", "level")), p


def quickly(trial, seed=1):
    return deal_out(trial, seed=seed, folds=3, repeats=1)


def test_without_heterogeneity_everybody_gets_the_best_arm():
    right = 0
    for seed in range(100):
        trial, _ = world(seed, apart=0.0, chances=np.full(3, 1 / 3))
        choice = choose(trial, quickly(trial))
        right += not choice.is_personal and choice.best == 1
    assert right >= 95, right


def test_with_equal_arms_noise_is_not_taken_for_a_personal_gain():
    personal = 0
    for seed in range(60):
        trial, _ = world(seed, apart=0.0)
        coins = np.random.default_rng(1_000 + seed).random(len(trial.logged)) < 0.3
        same = replace(trial, logged=replace(trial.logged, reward=coins.astype(float)))
        personal += choose(same, quickly(same)).is_personal
    assert personal <= 4, personal


@pytest.mark.long
def test_with_heterogeneity_it_personalises_and_the_intervals_hold_the_truth():
    personal = gain_held = value_held = 0
    for seed in range(40):
        trial, p = world(seed, apart=0.25, n=1_500)
        deals = quickly(trial)
        choice = choose(trial, deals)
        earned = p[np.arange(len(p)), deals[0].personal].mean()
        gain = earned - p.mean(axis=0).max()
        personal += choice.is_personal
        gain_held += choice.gain.low <= gain <= choice.gain.high
        value_held += choice.personal.low <= earned <= choice.personal.high
    assert personal >= 38, personal
    assert gain_held >= 36, gain_held
    assert value_held >= 36, value_held


def test_the_lower_bound_holds_against_every_arm_and_the_sentence_says_the_numbers():
    trial, _ = world(1, apart=0.25, n=1_500)
    choice = choose(trial, quickly(trial))
    assert choice.gain.low == min(gain.low for gain in choice.gains) > 0
    assert choice.gain.value == pytest.approx(choice.personal.value - choice.values[1].value)
    assert choice.verdict.startswith(f"choose for each recipient: personal choices add {'+'}")
    rival = replace(choice.gains[0], low=-0.01)
    unsure = replace(choice, gains=(rival, *choice.gains[1:]))
    assert not unsure.is_personal
    assert "send `one` to everybody" in unsure.verdict
    assert "[-0.01, " in unsure.verdict
    assert "not above zero" in unsure.verdict


def test_no_recipient_is_judged_by_a_model_that_saw_it():
    trial, _ = world(2, apart=0.2)
    twice = np.arange(600) // 2
    shared = replace(trial, logged=replace(trial.logged, group=twice))
    (deal,) = quickly(shared)
    assert (deal.fold[::2] == deal.fold[1::2]).all()
    mine = deal.fold == 0
    told = np.where(mine, 1 - shared.logged.reward, shared.logged.reward)
    (after,) = quickly(replace(shared, logged=replace(shared.logged, reward=told)))
    np.testing.assert_array_equal(deal.q[mine], after.q[mine])
    assert (deal.q[~mine] != after.q[~mine]).any()


def test_the_effect_of_an_arm_is_the_difference_of_the_values():
    trial, _ = world(3, apart=0.1)
    deals = quickly(trial)
    values = choose(trial, deals).values
    found = effect_of(trial, deals, 1, 0)
    assert found.value == pytest.approx(values[1].value - values[0].value)
    assert effect_of(trial, deals, 0, 1).value == pytest.approx(-found.value)
    assert effect_of(trial, deals, 2, 2).value == 0


def test_the_order_of_the_rows_changes_nothing():
    rows = table(world(4, apart=0.2)[0])
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=5)
    found = []
    for one in (rows, shuffled):
        trial = trial_of(one)
        deals = quickly(trial)
        found.append((choose(trial, deals), qini_of(trial, deals, 1, 0, seed=1)))
    assert found[0] == found[1]


# --- what is refused --------------------------------------------------------------------------


def table(trial):
    logged = trial.logged
    return pl.DataFrame(
        {
            "recipient_key": [f"r{code}" for code in logged.codes],
            "arm": [trial.arms[number] for number in logged.action],
            "outcome": logged.reward,
            "propensity": logged.propensity,
            "side": trial.context[:, 0],
            "place": np.where(trial.context[:, 1] > 0, "town", "country"),
        }
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.filter(pl.col("arm") == "one"), "arm: there is only 'one'"),
        (lambda rows: rows.head(0), "propensity|arm|group"),
        (
            lambda rows: pl.concat([rows, rows.head(3).with_columns(pl.lit("new").alias("arm"))]),
            "'new' has 3 rows; leave arms out that were tried on fewer than 50",
        ),
        (lambda rows: rows.drop("propensity"), "when all arms are equally likely; give every row"),
        (lambda rows: rows.with_columns(pl.lit(0.9).alias("propensity")), "propensity: 'none' has"),
        (
            lambda rows: rows.with_columns(clicks=pl.when(pl.col("arm") == "one").then(1.0)),
            r"clicks \(missing\): ranks .* in arm 'none'; leave out what was known only after",
        ),
        (
            lambda rows: rows.with_columns(spent=pl.col("outcome") + (pl.col("arm") == "one")),
            "spent: ranks .* leave out what was known only after",
        ),
        (
            lambda rows: rows.with_columns(pl.concat_list("side").alias("many")),
            "many: is List.* leave the column out",
        ),
    ],
)
def test_what_is_no_randomised_mailing_is_refused(change, told):
    with pytest.raises(PolicyLogError, match=told):
        trial_of(change(table(world(6, apart=0.0, n=900)[0])))


def test_a_right_file_is_hardly_ever_refused():
    for seed in range(150):
        trial, _ = world(seed, apart=0.1, n=500)
        heavy = np.random.default_rng(seed).lognormal(sigma=1.5, size=(500, 3))
        replace(trial, context=heavy, inputs=("a", "b", "c"))  # refuses where they are unlike


def test_an_arm_that_is_not_there_is_refused_with_those_that_are():
    trial, _ = world(7, apart=0.0)
    with pytest.raises(PolicyLogError, match="no 'three'; take of none, one, two"):
        trial.number_of("three")
    assert trial.number_of("two") == 2


# --- context ----------------------------------------------------------------------------------


def test_context_becomes_numbers_and_gaps_stay_gaps():
    frame = pl.DataFrame(
        {
            "age": [30, None, 50],
            "ratio": [0.5, float("inf"), float("nan")],
            "zone": ["north", None, "south"],
            "nothing": [None, None, None],
        }
    )
    found, names = encode(frame)
    assert names == ("age", "ratio", "zone=north", "zone=south")
    expected = [[30, 0.5, 1, 0], [np.nan, np.nan, 0, 0], [50, np.nan, 0, 1]]
    np.testing.assert_array_equal(found, expected)


def test_text_with_many_values_stays_small():
    each = pl.DataFrame({"key": [f"k{i}" for i in range(1_000)]})
    assert encode(each)[0].shape == (1_000, 0)
    many = pl.DataFrame({"city": [f"c{i % 50:02}" for i in range(1_000)]})
    found, names = encode(many)
    assert found.shape == (1_000, MAX_VALUES)
    assert names[0] == "city=c00"
