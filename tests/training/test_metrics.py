"""Measures against other people's code or brute force; intervals and splits keep their word."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as theirs

from models.report import Measured
from training import comparison, metrics, resampled
from training.baselines import base_rate, logistic, recency_curve
from training.calibration import fit_bent, fit_platt
from training.splits import held_out, snapshots

DAY_US = 86_400_000_000
ROWS = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        (rng := np.random.default_rng(seed)).permutation(
            np.r_[0.0, 1.0, rng.integers(0, 2, 40).astype(float)]
        ),
        np.round(rng.random(42), 1),  # ties
    )
)


@given(ROWS)
def test_auc_log_loss_and_brier_are_sklearns(rows):
    y, p = rows
    inside = np.clip(p, 1e-7, 1 - 1e-7)
    assert metrics.auc(y, p) == pytest.approx(theirs.roc_auc_score(y, p))
    assert metrics.log_loss(y, p) == pytest.approx(theirs.log_loss(y, inside))
    assert metrics.brier(y, p) == pytest.approx(theirs.brier_score_loss(y, p))


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_with_one_class_there_is_no_auc_but_a_loss(only):
    y, p = np.full(5, only), np.linspace(0, 1, 5)
    assert np.isnan(metrics.auc(y, p))
    assert np.isfinite(metrics.log_loss(y, p))


@given(ROWS, st.integers(1, 12))
def test_ece_is_the_mean_gap_over_bins_of_equal_mass(rows, bins):
    y, p = rows
    order = sorted(range(len(p)), key=lambda i: p[i])
    size, extra = divmod(len(p), bins)
    total, start = 0.0, 0
    for b in range(bins):
        part = order[start : (start := start + size + (b < extra))]
        total += abs(sum(y[i] for i in part) - sum(p[i] for i in part))
    assert metrics.ece(y, p, bins=bins) == pytest.approx(total / len(p))


@given(ROWS, st.integers(0, 2**31))
def test_what_is_counted_is_what_the_rows_themselves_give(rows, seed):
    y, p = rows
    counts = np.random.default_rng(seed).integers(0, 4, len(y))
    counts[[0, -1]] = 1
    drawn = np.repeat(np.arange(len(y)), counts)
    y_drawn, p_drawn = y[drawn], p[drawn]
    expected = [
        f(y_drawn, p_drawn) for f in (metrics.auc, metrics.log_loss, metrics.brier, metrics.ece)
    ]
    found = resampled.Sorted(y, p).measures(counts)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_draws_are_of_whole_groups_and_as_many_as_there_are():
    groups = ["a", "b", "a", "c", "b"]
    first, *drawn = resampled.draws_of(groups)
    assert first.tolist() == [1] * 5
    assert len(drawn) == resampled.DRAWS
    for counts in drawn:
        assert counts[0] == counts[2]
        assert counts[1] == counts[4]
        assert counts[0] + counts[1] + counts[3] == 3
    assert len({tuple(counts) for counts in drawn}) > 5


def test_ece_is_zero_where_predicted_is_observed_and_finds_a_shift():
    p = np.repeat([0.1, 0.5, 0.9], 1_000)
    y = np.concatenate([np.r_[np.ones(round(1_000 * c)), np.zeros(round(1_000 * (1 - c)))]
                        for c in (0.1, 0.5, 0.9)])  # fmt: skip
    assert metrics.ece(y, p, bins=3) == pytest.approx(0.0, abs=1e-12)
    assert metrics.ece(y, p - 0.05, bins=3) == pytest.approx(0.05)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_ndcg_is_the_gain_over_the_best_of_all_orders(seed, at):
    rng = np.random.default_rng(seed)
    gain, score = rng.integers(0, 3, 6).astype(float), rng.permutation(6).astype(float)
    discounts = 1 / np.log2(np.arange(2, 8))

    def gained(order) -> float:
        return sum(gain[i] * d for i, d in list(zip(order, discounts, strict=True))[:at])

    best = max(gained(order) for order in permutations(range(6)))
    found = metrics.ndcg(gain, score, at=at)
    if best == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(gained(np.argsort(-score)) / best)
        assert found == pytest.approx(theirs.ndcg_score([gain], [score], k=at))


# --- intervals --------------------------------------------------------------------------------


def copies(n: int, each: int) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(1)
    p = rng.random(n)
    y = (rng.random(n) < p).astype(float)
    people = [f"r{i // each}" for i in range(n * each)]
    rows = [f"row {i}" for i in range(n * each)]
    return np.repeat(y, each), np.repeat(p, each), people, rows


def width(estimate) -> float:
    return estimate.high - estimate.low


def test_copies_of_rows_make_no_interval_narrower():
    y, p, people, rows = copies(100, 25)

    def losses(y, p, groups) -> Measured:
        return comparison.of_probabilities(y, {"one": p}, groups)[0].measures["log loss"]

    by_person, by_row = losses(y, p, people), losses(y, p, rows)
    assert by_person.value == by_row.value == pytest.approx(metrics.log_loss(y, p))
    assert width(by_person) > 3 * width(by_row)  # five times in theory: the root of 25
    alone_y, alone_p, alone, _ = copies(100, 1)
    single = losses(alone_y, alone_p, alone)
    assert width(single) == pytest.approx(width(by_person), rel=0.25)

    loss = -(y * np.log(p) + (1 - y) * np.log1p(-p))[:, None]
    means = [metrics.mean_by_group(loss, groups)[0] for groups in (people, rows)]
    assert means[0].value == pytest.approx(by_person.value)
    assert width(means[0]) == pytest.approx(width(by_person), rel=0.25)
    assert width(means[0]) > 3 * width(means[1])


def test_intervals_hold_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(2)
    groups = [f"r{i // 4}" for i in range(400)]
    hits = 0
    for _ in range(200):
        values = (rng.normal(size=100).repeat(4) + rng.normal(size=400))[:, None]
        found = metrics.mean_by_group(values, groups, draws=200)[0]
        hits += found.low <= 0.0 <= found.high
    assert 178 <= hits <= 199


def test_the_order_of_rows_does_not_move_a_value():
    y, p, people, _ = copies(50, 3)
    shuffle = np.random.default_rng(3).permutation(len(y))
    methods = {"a": p, "b": np.clip(p * 0.5, 0.01, 0.99)}
    one = comparison.of_probabilities(y, methods, people)
    two = comparison.of_probabilities(
        y[shuffle], {k: v[shuffle] for k, v in methods.items()}, [people[i] for i in shuffle]
    )
    for row, other in zip((one[0], *one[1]), (two[0], *two[1]), strict=True):
        for name, measured in row.measures.items():
            if name != "ECE":  # equal scores fall into bins as they come
                assert measured.value == pytest.approx(other.measures[name].value)


def test_the_gain_is_what_the_model_saves_over_a_baseline_and_its_sign_is_kept():
    rng = np.random.default_rng(4)
    truth = rng.random(2_000)
    y = (rng.random(2_000) < truth).astype(float)
    people = [f"r{i}" for i in range(2_000)]
    good, bad = np.clip(truth, 0.02, 0.98), np.full(2_000, 0.5)
    row, (worse,) = comparison.of_probabilities(y, {"good": good, "bad": bad}, people)
    assert row.gain is None
    assert worse.gain.value == pytest.approx(metrics.log_loss(y, bad) - metrics.log_loss(y, good))
    assert worse.is_beaten
    _, (better,) = comparison.of_probabilities(y, {"bad": bad, "good": good}, people)
    assert better.gain.value == pytest.approx(-worse.gain.value)
    assert not better.is_beaten
    _, (same,) = comparison.of_probabilities(y, {"good": good, "again": good}, people)
    assert same.gain == Measured(0.0, 0.0, 0.0)
    assert not same.is_beaten


def test_means_by_method_come_back_under_their_own_names():
    values = {
        "m": {"a": np.array([1.0, 3.0]), "b": np.zeros(2)},
        "n": {"a": np.ones(2), "b": -np.ones(2)},
    }
    gain = {"a": np.zeros(2), "b": np.array([1.0, 3.0])}
    row, (other,) = comparison.of_values(values, gain, ["x", "y"])
    assert (row.method, row.measures["m"].value, row.measures["n"].value) == ("a", 2.0, 1.0)
    assert (other.method, other.measures["m"].value, other.gain.value) == ("b", 0.0, 2.0)


# --- splits -----------------------------------------------------------------------------------

KEYS = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=60)


@given(KEYS, st.floats(0.0, 1.0), st.randoms(use_true_random=False))
def test_who_is_held_out_does_not_depend_on_order_or_company(keys, share, random):
    chosen = dict(zip(keys, held_out(keys, share=share, salt="s").tolist(), strict=True))
    some = random.sample(keys, random.randint(1, len(keys)))
    again = held_out(some, share=share, salt="s").tolist()
    assert again == [chosen[key] for key in some]


@settings(max_examples=20)
@given(st.floats(0.05, 0.95))
def test_the_share_held_out_is_the_share_asked_for_and_salts_are_independent(share):
    keys = [f"r{i}" for i in range(4_000)]
    one, two = (held_out(keys, share=share, salt=salt) for salt in ("churn", "send_time"))
    assert one.mean() == pytest.approx(share, abs=0.04)
    assert (one & two).mean() == pytest.approx(share * share, abs=0.04)
    assert held_out(keys, share=0.0, salt="x").sum() == 0
    assert held_out(keys, share=1.0, salt="x").all()


@given(
    st.integers(0, 1_000), st.integers(0, 1_000), st.floats(1.0, 90.0), st.integers(1, 40),
)  # fmt: skip
def test_snapshots_a_window_apart_never_overlap_and_stay_inside(first, days, step, at_most):
    begin, end = first * DAY_US, (first + days) * DAY_US
    moments = snapshots(first=begin, last=end, step_days=step, at_most=at_most)
    assert moments[0] == end
    assert 1 <= len(moments) <= at_most
    assert all(begin <= at <= end for at in moments)
    assert all(a - b == round(step * DAY_US) for a, b in pairwise(moments))
    assert len(moments) == at_most or moments[-1] - round(step * DAY_US) < begin


def test_no_room_gives_no_snapshot():
    assert snapshots(first=10, last=9, step_days=1.0, at_most=3) == []


# --- calibration and baselines ----------------------------------------------------------------


def test_platt_gives_probabilities_to_scores_that_are_too_sure():
    rng = np.random.default_rng(5)
    z = rng.normal(size=20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z - 1)))).astype(float)
    platt = fit_platt(3 * z, y)
    assert platt.slope == pytest.approx(0.5 / 3, rel=0.1)
    assert platt.intercept == pytest.approx(-1, abs=0.08)
    assert metrics.ece(y, platt.apply(3 * z)) < 0.02


@given(ROWS)
def test_platt_never_turns_the_order_round(rows):
    y, p = rows
    platt = fit_platt(-10 * (y - 0.5) + p, y)  # scores that are wrong altogether
    assert platt.slope > 0
    assert np.isfinite(platt.apply(np.array([-1e3, 0.0, 1e3]))).all()


def test_baselines_answer_probabilities_whatever_is_missing():
    rng = np.random.default_rng(6)
    days, y = rng.gamma(1.0, 20.0, 300), rng.integers(0, 2, 300).astype(float)
    rows = rng.normal(size=(300, 3))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    curve = recency_curve(days, y, np.sort(days))
    assert np.all(np.diff(curve) >= 0)
    for p in (base_rate(y, 10), curve, logistic(rows, y, rows)):
        assert np.all((p > 0) & (p < 1))


def test_a_bent_calibration_follows_where_a_line_cannot():
    rng = np.random.default_rng(6)
    raw = rng.normal(0, 1.5, 40_000)
    true = expit(0.4 * raw + 3.0 * np.maximum(raw - 1.0, 0.0) - 0.5)
    y = (rng.random(len(raw)) < true).astype(float)
    half = np.arange(len(raw)) < 20_000
    bent, line = fit_bent(raw[half], y[half]), fit_platt(raw[half], y[half])
    assert metrics.ece(y[~half], bent.apply(raw[~half])) < 0.015
    assert metrics.ece(y[~half], line.apply(raw[~half])) > 0.03
    assert np.abs(bent.apply(raw) - true).mean() < np.abs(line.apply(raw) - true).mean() / 3


@given(st.integers(0, 2**32), st.integers(2, 300), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_a_bent_calibration_keeps_the_order_and_comes_back(seed, n, share):
    rng = np.random.default_rng(seed)
    raw = np.round(rng.normal(0, 2, n), 1)  # with ties
    bent = fit_bent(raw, (rng.random(n) < share).astype(float))
    asked = np.linspace(-6, 6, 200)
    told = bent.odds(asked)
    assert np.isfinite(told).all()
    assert (np.diff(told) > 0).all()
    is_inside = np.abs(told) < 12
    np.testing.assert_allclose(
        bent.raw_of(bent.apply(asked))[is_inside], asked[is_inside], atol=1e-3
    )
    knots = np.array(bent.knots)
    rises = np.diff(bent.odds(knots)) / np.diff(knots)
    np.testing.assert_allclose(bent.slopes_at((knots[1:] + knots[:-1]) / 2), rises, rtol=1e-6)


def test_little_evidence_leaves_the_line_a_line():
    rng = np.random.default_rng(7)
    raw = rng.normal(0, 1.5, 60)
    y = (rng.random(60) < expit(raw)).astype(float)
    line, bent = fit_platt(raw, y), fit_bent(raw, y)
    assert np.abs(bent.apply(raw) - line.apply(raw)).max() < 0.12
