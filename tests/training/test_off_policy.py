"""Off-policy estimates: identities, coverage of a known truth, refusals, verdicts."""

from collections import Counter
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from features.events.schema import DAY_US
from features.events.simulator import simulate
from features.events.world_parameters import Parameters
from training.off_policy import Estimator, estimate, switch_threshold
from training.off_policy_interval import moments, unseen_row
from training.off_policy_log import Logged, PolicyLogError, Target
from training.off_policy_model import cross_fit, folds_of
from training.off_policy_report import Limits, Outcome, judge, overlap_of

SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Bandit:
    """A contextual bandit with recipients who differ in rate: their rewards are correlated.

    `sharp` makes the logging policy a softmax of that sharpness, `explores` an epsilon-greedy
    one; `target` is the sharpness of the target, infinite for a greedy one.
    """

    k: int
    rate: float
    target: float
    sharp: float = 0.0
    explores: float = 0.0
    seed: int = 0
    n_context: int = 3

    def gains(self):
        rng = np.random.default_rng(self.seed)
        return rng.normal(0, 0.5, (2, self.n_context + 1, self.k))

    def drawn(self, seed, n_groups, *, rows=4):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(n_groups), 1 + rng.poisson(rows - 1, n_groups))
        n = len(group)
        own = rng.normal(size=(n_groups, self.n_context))[group]
        context = np.c_[np.ones(n), 0.7 * own + np.sqrt(0.51) * rng.normal(size=own.shape)]
        liking, habit = self.gains()
        base = np.log(self.rate / (1 - self.rate)) - 1.2
        p = expit(base + context @ liking + rng.normal(0, 1.0, n_groups)[group][:, None])
        logging = policy(context @ habit, sharp=self.sharp, explores=self.explores)
        target = policy(context @ (liking + 0.3 * habit), sharp=self.target, explores=0.0)
        return rng, group, context[:, 1:], p, logging, target

    def log(self, seed, n_groups):
        """A log, its context, the target's table, and a mediocre model that saw no reward."""
        rng, group, context, p, logging, target = self.drawn(seed, n_groups)
        action = (logging.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
        rows = np.arange(len(p))
        reward = (rng.random(len(p)) < p[rows, action]).astype(float)
        logged = Logged(action, reward, logging[rows, action], group)
        return logged, context, target, 0.5 * p + 0.5 * p.mean()

    def truth(self):
        _, _, _, p, logging, target = self.drawn(999_983, 120_000)
        return float((target * p).sum(axis=1).mean()), float((logging * p).sum(axis=1).mean())


def policy(score, *, sharp, explores):
    if explores == 0 and np.isfinite(sharp):
        return softmax(sharp * score, axis=1)
    k = score.shape[1]
    greedy = np.arange(k) == score.argmax(axis=1)[:, None]
    return (1 - explores) * greedy + explores / k


def a_log(seed, *, n=60, k=4):
    """A small log with everything random, its target's table, and a model."""
    rng = np.random.default_rng(seed)
    logging, target = rng.dirichlet(np.ones(k), n), rng.dirichlet(np.ones(k), n)
    action = (logging.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    rows = np.arange(n)
    group = np.r_[0, 1, rng.integers(0, 12, n - 2)]
    logged = Logged(action, rng.normal(size=n), logging[rows, action], group)
    return logged, target, rng.normal(size=(n, k))


def fields(measured):
    return [measured.value, measured.low, measured.high]


# --- coverage ---------------------------------------------------------------------------------

WORLDS = {
    "softmax, 5 %": (Bandit(5, 0.05, target=2.0, sharp=1.0, seed=1), 500),
    "softmax, 2 %": (Bandit(6, 0.02, target=1.5, sharp=1.0, seed=2), 800),
    "explores 40 %, 3 %": (Bandit(5, 0.03, target=inf, explores=0.4, seed=3), 800),
}


def coverage(bandit, n_groups, *, n_logs=200):
    """In which share of logs an estimator's interval of the value and of the gain is true."""
    truth, on_policy = bandit.truth()
    hits = Counter()
    for seed in range(n_logs):
        logged, _, target, q = bandit.log(seed, n_groups)
        for estimator, found in estimate(logged, Target.of(logged, target, q)).estimates.items():
            hits[estimator] += found.value.low <= truth <= found.value.high
            hits[estimator, "gain"] += found.gain.low <= truth - on_policy <= found.gain.high
    estimators = (Estimator.IPS, Estimator.SNIPS, Estimator.DR, Estimator.SWITCH_DR)
    return {one: hits[one] / n_logs for e in estimators for one in (e, (e, "gain"))}


@pytest.mark.parametrize("name", WORLDS)
def test_intervals_hold_the_truth_in_90_to_99_of_100_logs(name):
    found = coverage(*WORLDS[name])
    assert min(found.values()) >= 0.90, found
    assert max(found.values()) <= 0.99, found


def test_intervals_hold_the_truth_where_a_handful_of_rewards_is_matched():
    found = coverage(Bandit(10, 0.02, target=2.0, explores=0.1, seed=4), 200)
    assert min(found.values()) >= 0.90, found


def test_unbiased_means_unbiased_and_a_bad_model_stays_bad():
    bandit, _ = WORLDS["softmax, 5 %"]
    truth, _ = bandit.truth()
    values = {estimator: [] for estimator in Estimator}
    for seed in range(100):
        logged, _, target, q = bandit.log(seed, 300)
        for estimator, found in estimate(logged, Target.of(logged, target, q)).estimates.items():
            values[estimator].append(found.value.value)
    errors = {estimator: np.std(found) / 10 for estimator, found in values.items()}
    for estimator in (Estimator.IPS, Estimator.SNIPS, Estimator.DR):
        assert np.mean(values[estimator]) == pytest.approx(truth, abs=3 * errors[estimator])
    assert abs(np.mean(values[Estimator.DM]) - truth) > 10 * errors[Estimator.DM]


def test_copies_of_rows_make_no_interval_narrower():
    logged, target, q = a_log(3, n=400)
    each = np.arange(len(logged)).repeat(25)
    by_row = replace(logged, group=np.arange(len(logged)))
    copied = Logged(*(a[each] for a in (by_row.action, by_row.reward, by_row.propensity)), each)
    once = estimate(by_row, Target.of(by_row, target, q))
    often = estimate(copied, Target.of(copied, target[each], q[each]))
    for name, found in once.estimates.items():
        assert fields(often.estimates[name].value) == pytest.approx(fields(found.value))
        assert fields(often.estimates[name].gain) == pytest.approx(fields(found.gain))


def test_a_share_gets_wilsons_interval():
    y = np.r_[np.ones(12), np.zeros(388)]
    found = moments(y.mean(), (y - y.mean()) / 400, np.arange(400), 400).interval()
    z2, p = 1.96**2, 12 / 400
    centre, half = p + z2 / 800, np.sqrt(z2 * (p * (1 - p) / 400 + z2 / 4 / 400**2))
    wilson = [(centre - half) / (1 + z2 / 400), (centre + half) / (1 + z2 / 400)]
    assert [found.low, found.high] == pytest.approx(wilson, rel=0.09)
    assert found.high - p > 1.3 * (p - found.low)


def test_without_a_matched_reward_the_interval_is_not_nothing():
    n = 300
    logged = Logged(np.zeros(n, int), np.r_[1.0, np.zeros(n - 1)], np.full(n, 0.5), np.arange(n))
    target = Target(np.r_[0.0, np.ones(n - 1)])
    found = estimate(logged, target).estimates[Estimator.SNIPS].value
    assert found.value == 0
    assert 1 / n < found.high < 30 / n


# --- identities -------------------------------------------------------------------------------


@settings(max_examples=40)
@given(SEEDS)
def test_the_logging_policy_earns_what_was_logged(seed):
    logged, _, _ = a_log(seed)
    found = judge(logged, Target(logged.propensity))
    snips = found.valued.estimates[Estimator.SNIPS]
    assert fields(snips.value) == pytest.approx(fields(found.valued.logged))
    for name in (Estimator.IPS, Estimator.SNIPS):
        estimated = found.valued.estimates[name]
        assert estimated.value.value == pytest.approx(logged.reward.mean())
        assert fields(estimated.gain) == pytest.approx([0, 0, 0], abs=1e-12)
    assert found.overlap.ess == pytest.approx(len(logged))
    assert found.verdict.outcome is Outcome.NOT_DIFFERENT


@settings(max_examples=40)
@given(SEEDS, st.floats(-1e3, 1e3), st.floats(0.1, 100))
def test_snips_and_dr_move_with_the_origin_and_the_unit_of_rewards(seed, origin, unit):
    logged, table, q = a_log(seed)
    moved = replace(logged, reward=unit * logged.reward + origin)
    before = estimate(logged, Target.of(logged, table, q)).estimates
    after = estimate(moved, Target.of(moved, table, unit * q + origin)).estimates
    for name in (Estimator.SNIPS, Estimator.DR):
        expected = unit * np.array(fields(before[name].value)) + origin
        assert fields(after[name].value) == pytest.approx(expected, abs=1e-7 * (unit + abs(origin)))
        gain = unit * np.array(fields(before[name].gain))
        assert fields(after[name].gain) == pytest.approx(gain, abs=1e-7 * (unit + abs(origin)))


@given(SEEDS)
def test_dr_is_dm_where_the_model_is_exact_and_rewards_have_no_noise(seed):
    logged, table, q = a_log(seed)
    exact = replace(logged, reward=q[np.arange(len(logged)), logged.action])
    found = estimate(exact, Target.of(exact, table, q)).estimates
    assert fields(found[Estimator.DR].value) == pytest.approx(fields(found[Estimator.DM].value))
    assert found[Estimator.DM].value.value == pytest.approx((table * q).sum(axis=1).mean())


@settings(max_examples=40)
@given(SEEDS)
def test_switch_dr_is_dr_without_a_threshold_and_dm_at_none(seed):
    logged, table, q = a_log(seed)
    target = Target.of(logged, table, q)
    for threshold, other in ((inf, Estimator.DR), (0.0, Estimator.DM)):
        found = estimate(logged, target, threshold=threshold).estimates
        switched, same = found[Estimator.SWITCH_DR], found[other]
        assert fields(switched.value) == pytest.approx(fields(same.value))
        assert fields(switched.gain) == pytest.approx(fields(same.gain))


@given(SEEDS, st.floats(0.0, 4.0))
def test_between_them_rows_up_to_the_threshold_mend_the_model(seed, threshold):
    logged, table, q = a_log(seed)
    target = Target.of(logged, table, q)
    found = estimate(logged, target, threshold=threshold).estimates[Estimator.SWITCH_DR]
    w = target.p_logged / logged.propensity
    mended = [
        own + (weight * (reward - value) if weight <= threshold else 0.0)
        for own, weight, reward, value in zip(
            target.q_target, w, logged.reward, target.q_logged, strict=True
        )
    ]
    assert found.value.value == pytest.approx(np.mean(mended))
    assert found.threshold == threshold


@given(SEEDS)
def test_a_model_that_says_nothing_makes_dr_ips(seed):
    logged, table, q = a_log(seed)
    found = estimate(logged, Target.of(logged, table, np.zeros_like(q))).estimates
    assert fields(found[Estimator.DR].value) == pytest.approx(fields(found[Estimator.IPS].value))


@settings(max_examples=40)
@given(SEEDS, st.randoms(use_true_random=False))
def test_neither_order_of_rows_nor_names_of_recipients_matter(seed, random):
    logged, table, q = a_log(seed)
    order = np.array(random.sample(range(len(logged)), len(logged)))
    names = np.array([f"person {code * 7 % 97}" for code in logged.group])
    other = Logged(
        logged.action[order], logged.reward[order], logged.propensity[order], names[order]
    )
    one = estimate(logged, Target.of(logged, table, q))
    two = estimate(other, Target.of(other, table[order], q[order]))
    for name, found in one.estimates.items():
        assert fields(found.value) == pytest.approx(fields(two.estimates[name].value))
        assert fields(found.gain) == pytest.approx(fields(two.estimates[name].gain))


def test_the_threshold_cuts_where_few_rows_are_most_of_the_variance_and_the_interval_knows():
    n = 2_000
    rng = np.random.default_rng(5)
    w = np.r_[np.full(3, 100.0), np.full(n - 3, 0.85)]
    propensity, half = 1 / np.maximum(2 * w, 2), np.full(n, 0.02)
    reward = np.r_[0.0, 0.0, 1.0, (rng.random(n - 3) < 0.02)]
    logged = Logged(np.zeros(n, int), reward, propensity, np.arange(n))
    heavy = Target(w * propensity, half, half)
    chosen, bias = switch_threshold(logged, heavy)
    assert 0.85 <= chosen < 100
    assert bias == pytest.approx(300 / n * max(0.02, reward.mean()))
    free, fixed = (
        estimate(logged, heavy, threshold=t).estimates[Estimator.SWITCH_DR] for t in (None, chosen)
    )
    assert free.value.high == pytest.approx(fixed.value.high + bias)
    assert free.gain.low == pytest.approx(fixed.gain.low - bias)
    assert switch_threshold(logged, Target(propensity, half, half)) == (inf, 0.0)


# --- overlap ----------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 50))
def test_effective_rows_are_the_rows_of_a_plain_sample(seed, n_taken):
    n = 50
    action = np.random.default_rng(seed).permutation(np.arange(n) >= n_taken).astype(int)
    logged = Logged(action, np.ones(n), np.full(n, n_taken / n), np.arange(n))
    found = overlap_of(logged, Target((action == 0).astype(float)), limits=Limits())
    assert found.ess == pytest.approx(n_taken)
    assert found.ess_share == pytest.approx(n_taken / n)
    assert found.matched == n_taken
    assert found.zero_share == pytest.approx(1 - n_taken / n)
    assert found.max_weight == pytest.approx(n / n_taken)
    assert found.group_share == pytest.approx(1 / n_taken)
    assert found.mean_weight.value == pytest.approx(1)


def test_the_mean_weight_of_right_propensities_is_one_and_of_wrong_ones_is_not():
    bandit, _ = WORLDS["softmax, 2 %"]
    right, wrong = 0, 0
    for seed in range(60):
        logged, _, table, _ = bandit.log(seed, 500)
        off = replace(logged, propensity=np.minimum(logged.propensity * 1.5, 1.0))
        for one in (logged, off):
            mean = overlap_of(one, Target.of(one, table), limits=Limits()).mean_weight
            holds = mean.low <= 1 <= mean.high
            right, wrong = right + (holds and one is logged), wrong + (not holds and one is off)
    assert right >= 57
    assert wrong >= 57


def test_a_propensity_over_all_slots_is_noticed_in_each():
    rng = np.random.default_rng(8)
    n = 6_000
    slot = rng.integers(0, 2, n)
    first = rng.random(n) < np.where(slot == 0, 0.8, 0.2)
    action = np.where(first, 0, 1)
    there = np.where(slot == 0, 0.8, 0.2)
    exact = np.where(first, there, 1 - there)
    table = np.tile([0.7, 0.3], (n, 1))
    reward = (rng.random(n) < 0.3).astype(float)
    for propensity, is_right in ((exact, True), (np.full(n, 0.5), False)):
        logged = Logged(action, reward, propensity, np.arange(n) // 2, slot)
        found = judge(logged, Target.of(logged, table))
        assert all((m.low <= 1 <= m.high) is is_right for m in found.overlap.by_slot.values())
        assert any("in slot 1" in why for why in found.verdict.reasons) is not is_right


# --- verdicts ---------------------------------------------------------------------------------


def two_arms(seed, *, n=12_000, rates=(0.05, 0.08), share=0.9):
    """Half the rows each; the target takes arm 1 with a share."""
    rng = np.random.default_rng(seed)
    action = rng.integers(0, 2, n)
    reward = (rng.random(n) < np.array(rates)[action]).astype(float)
    logged = Logged(action, reward, np.full(n, 0.5), rng.integers(0, n // 3, n))
    return logged, Target(np.where(action == 1, share, 1 - share))


def test_what_is_plain_is_said():
    for rates, outcome in (
        ((0.05, 0.08), Outcome.BETTER),
        ((0.08, 0.05), Outcome.WORSE),
        ((0.08, 0.08), Outcome.NOT_DIFFERENT),
    ):
        verdict = judge(*two_arms(1, rates=rates)).verdict
        assert verdict.outcome is outcome
        assert "effective rows" in " ".join(verdict.reasons)


def test_what_is_not_there_is_said_to_be_better_once_in_twenty_at_most():
    said = Counter(
        judge(*two_arms(seed, n=6_000, rates=(0.06, 0.06))).verdict.outcome for seed in range(200)
    )
    assert said[Outcome.BETTER] + said[Outcome.WORSE] <= 18
    assert said[Outcome.NOT_DIFFERENT] > 150


def test_a_log_that_cannot_show_a_difference_says_how_many_rows_could():
    logged, target = two_arms(2, n=6_000, rates=(0.06, 0.06))
    short = judge(logged, target, limits=Limits(lift=0.05)).verdict
    assert short.outcome is Outcome.NOT_ASSESSABLE
    assert "5% is asked for" in " ".join(short.reasons)
    assert short.more_rows
    enough = two_arms(8, n=6_000 + short.more_rows, rates=(0.06, 0.06))
    assert judge(*enough, limits=Limits(lift=0.055)).verdict.outcome is Outcome.NOT_DIFFERENT


def test_each_thing_that_is_short_is_a_reason():
    few = judge(*two_arms(4, n=600)).verdict
    assert few.outcome is Outcome.NOT_ASSESSABLE
    told = " ".join(few.reasons)
    assert "effective rows of 600, 1,000 are needed" in told
    assert "matched positives, 100 are needed" in told
    assert few.more_rows
    logged, target = two_arms(5)
    one = replace(logged, group=np.where(np.arange(len(logged)) < 2_000, 0, logged.group + 1))
    assert "one recipient has" in " ".join(judge(one, target).verdict.reasons)
    never = Target(np.zeros(len(logged)))
    nothing = judge(logged, never)
    assert nothing.verdict.outcome is Outcome.NOT_ASSESSABLE
    assert np.isnan(nothing.valued.estimates[Estimator.SNIPS].value.value)


def test_estimators_that_contradict_each_other_are_a_reason():
    logged, target = two_arms(6)
    lying = Target(
        target.p_logged, q_logged=np.zeros(len(logged)), q_target=np.full(len(logged), 0.2)
    )
    verdict = judge(logged, lying).verdict
    assert verdict.outcome is Outcome.NOT_ASSESSABLE
    assert verdict.more_rows is None
    assert "SNIPS and DR" in " ".join(verdict.reasons)


# --- the reward model -------------------------------------------------------------------------


def test_no_row_is_valued_by_a_model_that_saw_its_recipient():
    bandit = Bandit(4, 0.3, target=2.0, sharp=1.0)
    logged, context, _, _ = bandit.log(1, 200)
    before = cross_fit(logged, context, n_actions=4, seed=3)
    mine = logged.group == 17
    told = replace(logged, reward=np.where(mine, 1 - logged.reward, logged.reward))
    after = cross_fit(told, context, n_actions=4, seed=3)
    assert np.array_equal(before[mine], after[mine])
    assert not np.array_equal(before[~mine], after[~mine])


@given(SEEDS, st.integers(3, 8))
@settings(max_examples=20)
def test_folds_keep_recipients_whole_and_are_even(seed, folds):
    codes = np.random.default_rng(seed).integers(0, 40, 300)
    found = folds_of(codes, 40, folds=folds, seed=seed)
    assert all(len(set(found[codes == code])) == 1 for code in set(codes))
    dealt = folds_of(np.arange(40), 40, folds=folds, seed=seed)
    assert np.ptp(np.bincount(dealt, minlength=folds)) <= 1


def test_a_model_of_other_recipients_narrows_dr_and_dr_mends_the_model():
    bandit = Bandit(4, 0.35, target=3.0, sharp=1.0, seed=6, n_context=2)
    truth, _ = bandit.truth()
    logged, context, table, _ = bandit.log(4, 1_000)
    shift = 2 * context[:, 0]
    for one, mean in ((logged, 0.0), (replace(logged, reward=logged.reward + shift), shift.mean())):
        q = cross_fit(one, context, n_actions=4, seed=1)
        found = estimate(one, Target.of(one, table, q)).estimates
        assert found[Estimator.DR].gain_error < 0.95 * found[Estimator.IPS].gain_error
        mended = found[Estimator.DR].value
        assert mended.low <= truth + mean <= mended.high
        wrong = estimate(one, Target.of(one, table, q + 0.5)).estimates
        assert wrong[Estimator.DM].value.low > mended.high
        assert wrong[Estimator.DR].value.value == pytest.approx(mended.value, abs=0.05)


def test_a_model_without_a_reward_says_so_everywhere():
    logged, target = two_arms(7, n=300, rates=(0.0, 0.0))
    q = cross_fit(logged, np.zeros((300, 1)), n_actions=2, seed=1)
    assert q == pytest.approx(np.zeros((300, 2)))
    assert judge(logged, target).verdict.outcome is Outcome.NOT_ASSESSABLE


# --- refusals ---------------------------------------------------------------------------------

GOOD = {
    "action": np.array([0, 1, 0]),
    "reward": np.array([0.0, 1.0, 0.0]),
    "propensity": np.array([0.5, 0.5, 1.0]),
    "group": np.array(["a", "b", "b"]),
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"propensity": np.array([0.5, 0.0, 1.0])}, "propensity: row 1 is 0.0; log the chance"),
        ({"propensity": np.array([0.5, 0.5, 1.5])}, "propensity: row 2 is 1.5; log the chance"),
        ({"propensity": np.array([0.5, np.nan, 1.0])}, "propensity: row 1 is nan; leave rows"),
        ({"reward": np.array([0.0, np.inf, 1.0])}, "reward: row 1 is inf; leave rows out"),
        ({"reward": np.zeros(2)}, "reward: 2 rows, the log has 3; give one value a row"),
        ({"reward": np.zeros((3, 1))}, "give one number a row"),
        ({"action": np.array([0, -1, 0])}, "action: row 1 is -1; number the actions from 0"),
        ({"action": np.array([0.5, 1, 0])}, "number the actions from 0"),
        ({"group": np.array(["a", "a", "a"])}, "1 recipients in 3 rows; intervals need 2"),
        ({"slot": np.zeros(4)}, "slot: 4 rows, the log has 3"),
    ],
)
def test_a_log_that_cannot_be_right_is_refused_with_row_value_and_remedy(change, told):
    with pytest.raises(PolicyLogError) as caught:
        Logged(**{**GOOD, **change})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("table", "q", "told"),
    [
        ([[0.5, 0.5], [0.7, 0.4], [1, 0]], None, "row sum: row 1 is 1.1; divide each row"),
        ([[0.5, 0.5], [1.5, -0.5], [1, 0]], None, "row 1 is -0.5; no chance is below 0"),
        ([[1], [1], [1]], None, "action: row 1 is 1; number the 1 actions from 0 to 0"),
        ([[0.5, 0.5]], None, "probabilities: 1 rows, the log has 3"),
        ([0.5, 0.5, 0.5], None, "give one column an action"),
        ([[0.5, 0.5]] * 3, [[1.0]] * 3, "q: shape (3, 1), probabilities have (3, 2)"),
        ([[0.5, 0.5]] * 3, [[1.0, np.nan]] * 3, "q: row 0 is nan; give a finite number"),
    ],
)
def test_a_target_that_is_no_policy_is_refused(table, q, told):
    with pytest.raises(PolicyLogError) as caught:
        Target.of(Logged(**GOOD), np.array(table), None if q is None else np.array(q))
    assert told in str(caught.value)


def test_columns_of_a_target_that_do_not_fit_are_refused():
    for wrong, told in (
        ({"p_logged": np.array([0.1, 1.2])}, "target: row 1 is 1.2"),
        ({"p_logged": np.array([0.1, 0.2]), "q_logged": np.zeros(2)}, "q_target: missing"),
        ({"p_logged": np.zeros(2), "q_logged": np.zeros(3), "q_target": np.zeros(2)}, "3 rows"),
    ):
        with pytest.raises(PolicyLogError, match=told):
            Target(**wrong)
    with pytest.raises(PolicyLogError, match="2 rows, the log has 3"):
        estimate(Logged(**GOOD), Target(np.ones(2)))
    logged = Logged(**GOOD)
    for context, asked, told in (
        (np.zeros((2, 1)), {}, "the log has 3 rows"),
        (np.zeros((3, 1)), {"n_actions": 1}, "there is 1"),
        (np.zeros((3, 1)), {}, "5 folds for 2 recipients"),
    ):
        with pytest.raises(PolicyLogError, match=told):
            cross_fit(logged, context, **({"n_actions": 2, "seed": 1} | asked))


def test_no_mass_and_no_residual_add_nothing_unseen():
    assert unseen_row(np.zeros(3), np.ones(3), np.ones(3)) == (0.0, 0.0)
    assert unseen_row(np.ones(3), np.ones(3), np.zeros(3)) == (0.0, 0.0)


# --- a simulated sender, and a public log -----------------------------------------------------


def mails(*, random_hour_share, monkeypatch):
    """Every mail of a world, its logged propensity of the hour, and whether a person answered."""
    drawn = Parameters.drawn.__func__
    if random_hour_share is not None:
        changed = lambda cls, rng: replace(  # noqa: E731
            drawn(cls, rng), random_hour_share=random_hour_share
        )
        monkeypatch.setattr(Parameters, "drawn", classmethod(changed))
    events = simulate(seed=1, n_recipients=1_500, weeks=10, ends_at=20_400 * DAY_US).events
    monkeypatch.undo()
    answered = events.filter(pl.col("type").is_in(["opened", "clicked"]), actor="human")
    logged = pl.Struct({"propensity_hour": pl.Float64})
    return events.filter(type="sent").select(
        "recipient_key",
        pl.col("message_key").is_in(answered["message_key"].implode()).alias("answered"),
        pl.col("properties").str.json_decode(logged).struct.field("propensity_hour"),
    )


@pytest.mark.parametrize("random_hour_share", [0.0, 1.0])
def test_the_simulators_log_tells_what_the_simulator_does_under_another_policy(
    random_hour_share, monkeypatch
):
    log = mails(random_hour_share=None, monkeypatch=monkeypatch)
    propensity = log["propensity_hour"].to_numpy()
    is_usual = propensity > 0.5
    logged = Logged(
        is_usual.astype(int), log["answered"].to_numpy().astype(float), propensity,
        log["recipient_key"].to_numpy(),
    )  # fmt: skip
    always = is_usual.astype(float)
    judged = judge(logged, Target(np.full(len(log), 1 / 24) if random_hour_share else always))
    lived = mails(random_hour_share=random_hour_share, monkeypatch=monkeypatch)
    truth = float(lived["answered"].mean())
    assert judged.overlap.mean_weight.low <= 1 <= judged.overlap.mean_weight.high
    for name in (Estimator.IPS, Estimator.SNIPS):
        found = judged.valued.estimates[name].value
        assert found.low <= truth <= found.high
        assert found.high - found.low < 0.4 * truth
    assert judged.verdict.outcome is Outcome.NOT_DIFFERENT  # within 25 %, what the limits ask for


def open_bandit(folder):
    """A file of the Open Bandit sample by time; the propensity is that of item and position.

    There is no recipient in it; rows of one impression share their moment.
    """
    table = pl.read_csv(folder / "women" / "women.csv.gz").sort("timestamp")
    return table, Logged(
        table["item_id"].to_numpy(),
        table["click"].to_numpy().astype(float),
        table["propensity_score"].to_numpy(),
        table["timestamp"].to_numpy(),
        table["position"].to_numpy(),
    )


def part_of(logged, rows):
    columns = (logged.action, logged.reward, logged.propensity, logged.group, logged.slot)
    return Logged(*(column[rows] for column in columns))


@pytest.mark.shared
@pytest.mark.parametrize("sharpness", [1.0, inf])
def test_the_open_bandit_sample_cannot_judge_a_policy_learned_on_its_first_half(
    shared_data, sharpness
):
    _, logged = open_bandit(shared_data / "obd" / "bts")
    half = len(logged) // 2
    past, later = part_of(logged, slice(None, half)), part_of(logged, slice(half, None))
    k = int(logged.action.max()) + 1
    clicks = np.bincount(past.action, past.reward, k) + 300 * past.reward.mean()
    rate = clicks / (np.bincount(past.action, minlength=k) + 300)
    learned = policy(np.log(rate)[None, :] / 0.3, sharp=sharpness, explores=0.0)
    verdict = judge(later, Target.of(later, np.tile(learned, (len(later), 1)))).verdict
    assert verdict.outcome is Outcome.NOT_ASSESSABLE
    assert "matched positives, 100 are needed" in " ".join(verdict.reasons)


@pytest.mark.shared
def test_the_random_log_of_the_open_bandit_sample_is_fine_by_its_own_policy(shared_data):
    _, logged = open_bandit(shared_data / "obd" / "random")
    k = int(logged.action.max()) + 1
    found = judge(logged, Target.of(logged, np.full((len(logged), k), 1 / k)))
    assert found.verdict.outcome is Outcome.NOT_DIFFERENT
    assert found.overlap.ess_share == pytest.approx(1)
    assert found.valued.best.value.value == pytest.approx(logged.reward.mean())
    halved = replace(logged, propensity=logged.propensity / 2)
    wrong = judge(halved, Target.of(halved, np.full((len(logged), k), 1 / k)))
    assert wrong.verdict.outcome is Outcome.NOT_ASSESSABLE
    assert "the mean weight is 2.000" in wrong.verdict.reasons[0]
