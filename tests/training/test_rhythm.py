"""Laws of the rhythm: a week sums to one; a stranger's is the cohort's, a friend's their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.evened import toeplitz
from models.spec import HOURS_PER_WEEK
from models.specs.send_time import LEVEL, SPEC
from training.aging import USUAL, seen_after
from training.rhythm import SMOOTH, Past, Rhythm, fit_rhythm, global_week, hits, log_likelihood
from training.send_link import MAX_SLOPE, MIN_SENDS, fit_link

KINDS = 3


def true_weeks(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """People of three kinds (morning, evening, weekend), each with a shift of their own."""
    rng = np.random.default_rng(seed)
    hour, day = np.arange(HOURS_PER_WEEK) % 24, np.arange(HOURS_PER_WEEK) // 24
    kinds = np.stack([
        np.exp(-0.5 * ((hour - 7) / 1.5) ** 2) * np.where(day < 5, 1.0, 0.2),
        np.exp(-0.5 * ((hour - 20) / 1.5) ** 2) * np.where(day < 5, 1.0, 0.7),
        np.exp(-0.5 * ((hour - 14) / 2.5) ** 2) * np.where(day >= 5, 1.0, 0.1),
    ])  # fmt: skip
    kind = rng.integers(0, KINDS, n)
    shift = rng.integers(-2, 3, n)
    weeks = np.stack([np.roll(kinds[k], s) for k, s in zip(kind, shift, strict=True)]) + 0.01
    return weeks / weeks.sum(axis=1, keepdims=True), kind


def counted(weeks: np.ndarray, level: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.poisson(weeks * level[:, None]).astype(np.float64)


@pytest.fixture(scope="module")
def rhythm() -> Rhythm:
    truth, _ = true_weeks(900, 1)
    level = np.random.default_rng(2).gamma(1.0, 15.0, 900) + 1
    past, later = counted(truth, level, 3), counted(truth, np.full(900, 20.0), 4)
    held = (Past.local(past[600:]), later[600:])
    return fit_rhythm(Past.local(past[:600]), held, seed=5, cohorts=(1, 6, 12))


COUNTS = st.builds(
    lambda seed, level: np.random.default_rng(seed).poisson(level / 168, (4, 168)).astype(float),
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 50_000.0),
)


@settings(max_examples=60)
@given(COUNTS)
def test_activity_is_a_distribution_over_the_week(rhythm, counts):
    for activity in (rhythm.activity(Past.local(counts)), rhythm.prior(Past.local(counts))):
        assert np.all(activity > 0)
        np.testing.assert_allclose(activity.sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(
        seen_after(rhythm.activity(Past.local(counts))).mean(axis=1), 1.0, rtol=1e-9
    )


def test_smoothing_and_aging_move_attention_and_make_none():
    for moved in (SMOOTH, toeplitz(USUAL)):
        np.testing.assert_allclose(moved.sum(axis=0), 1.0)
        np.testing.assert_allclose(moved.sum(axis=1), 1.0)


def test_a_mail_is_seen_after_it_was_sent_and_never_before():
    noon = np.zeros((1, HOURS_PER_WEEK))
    noon[0, 12] = 1.0
    seen = seen_after(noon)[0]
    assert seen.argmax() == 12
    assert seen[11] > seen[1] > 0
    assert np.all(seen[13:156] == 0)
    assert seen[HOURS_PER_WEEK - 11] > 0  # the evening before, over the turn of the week


def test_who_did_nothing_yet_gets_the_mixture_of_the_cohorts(rhythm):
    activity = rhythm.activity(Past.local(np.zeros((2, HOURS_PER_WEEK))))
    mixture = rhythm.shares @ rhythm.cohorts
    np.testing.assert_allclose(activity, np.tile(mixture, (2, 1)), rtol=1e-9)


def test_a_few_events_point_to_the_cohort_they_come_from(rhythm):
    """A handful of evening hours tells about evenings in which nothing was seen yet."""
    truth, kind = true_weeks(300, 8)
    counts = counted(truth, np.full(300, 6.0), 7)
    mixture = rhythm.shares @ rhythm.cohorts
    told = np.abs(rhythm.prior(Past.local(counts)) - truth).sum(axis=1)
    untold = np.abs(mixture - truth).sum(axis=1)
    for k in range(KINDS):
        assert told[kind == k].mean() < untold[kind == k].mean() - 0.2


def test_the_more_is_known_the_nearer_to_the_persons_own_week(rhythm):
    truth, _ = true_weeks(200, 9)
    gaps = [
        np.abs(rhythm.activity(Past.local(counted(truth, np.full(200, level), 10))) - truth)
        .sum(axis=1)
        .mean()
        for level in (0.0, 5.0, 50.0, 500.0, 50_000.0)
    ]
    assert gaps == sorted(gaps, reverse=True)
    smooth = np.abs(truth @ SMOOTH - truth).sum(axis=1).mean()
    assert gaps[-1] < smooth + 0.02  # what is left is the smoothing
    assert gaps[-1] < 0.3 * gaps[0]


def test_the_answer_does_not_depend_on_who_else_is_asked(rhythm):
    truth, _ = true_weeks(20, 11)
    counts = counted(truth, np.full(20, 30.0), 12)
    past = Past(counts, np.arange(20) % 2 == 0)
    alone = [rhythm.activity(past.part(np.arange(20) == i)) for i in range(20)]
    np.testing.assert_allclose(rhythm.activity(past), np.concatenate(alone), rtol=1e-12)


def test_learnt_rhythm_beats_the_global_week_and_the_raw_histogram(rhythm):
    truth, _ = true_weeks(600, 20)
    level = np.random.default_rng(21).gamma(1.0, 15.0, 600) + 1
    past, later = counted(truth, level, 22), counted(truth, np.full(600, 20.0), 23)
    kept = later.sum(axis=1) > 0
    past, later, truth = past[kept], later[kept], truth[kept]
    raw = (past + 1 / HOURS_PER_WEEK) / (past.sum(axis=1, keepdims=True) + 1)
    week = np.tile(global_week(past), (len(past), 1))
    scores = {
        name: float(log_likelihood(activity, later).mean())
        for name, activity in {
            "learnt": rhythm.activity(Past.local(past)), "global": week, "raw": raw, "truth": truth,
        }.items()
    }  # fmt: skip
    assert scores["learnt"] > scores["global"] + 0.3
    assert scores["learnt"] > scores["raw"] + 0.3
    assert scores["truth"] > scores["learnt"] > scores["truth"] - 0.35
    assert hits(rhythm.activity(Past.local(past)), later).mean() > hits(week, later).mean() + 0.1


def test_one_cohort_is_the_global_week():
    truth, _ = true_weeks(100, 30)
    past = counted(truth, np.full(100, 30.0), 31)
    fitted = fit_rhythm(Past.local(past), (Past.local(past), past), seed=1, cohorts=(1,))
    assert fitted.cohorts.shape == (1, HOURS_PER_WEEK)
    np.testing.assert_allclose(fitted.cohorts[0], global_week(past))


def test_the_same_seed_gives_the_same_rhythm():
    truth, _ = true_weeks(100, 40)
    past = counted(truth, np.full(100, 30.0), 41)
    known = Past.local(past)
    one, two = (fit_rhythm(known, (known, past), seed=3, cohorts=(4,)) for _ in range(2))
    np.testing.assert_array_equal(one.cohorts, two.cohorts)
    assert (one.by_hour, one.by_day, one.by_slot) == (two.by_hour, two.by_day, two.by_slot)


ALL = range(len(LEVEL))

# --- the link ---------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(-3.0, 3.0))
def test_more_attention_is_never_a_smaller_chance(seed, true_slope):
    """Whatever the logs say, people who open only what is mailed at night included."""
    rng = np.random.default_rng(seed)
    n = 2 * MIN_SENDS
    attention, level = rng.gamma(2.0, 0.5, n) + 0.01, rng.random((n, len(LEVEL)))
    chance = 1 / (1 + np.exp(1.0 - true_slope * np.log(attention)))
    engaged = (rng.random(n) < chance).astype(float)
    link = fit_link(attention, level, engaged, people=np.arange(n), prior=SPEC.prior, read=ALL)

    assert 0 < link.slope <= MAX_SLOPE
    grid = np.tile(np.geomspace(1e-3, 20, 50), (3, 1))
    p = link.predict(grid, level[:3])
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(np.diff(p, axis=1) >= 0)


def test_the_link_finds_a_slope_that_is_there():
    rng = np.random.default_rng(1)
    attention, level = rng.gamma(2.0, 0.5, 20_000) + 0.05, rng.random((20_000, len(LEVEL)))
    chance = 1 / (1 + np.exp(2.0 - 0.7 * np.log(attention)))
    engaged = (rng.random(20_000) < chance).astype(float)
    link = fit_link(attention, level, engaged, people=np.arange(20_000), prior=SPEC.prior, read=ALL)

    assert link.basis == "engagement"
    assert link.slope == pytest.approx(0.7, abs=0.1)
    assert link.predict(attention[:, None], level).mean() == pytest.approx(engaged.mean(), abs=0.01)


def test_too_few_mails_leave_the_prior_at_the_average_hour():
    rng = np.random.default_rng(2)
    n = MIN_SENDS - 1
    level = rng.random((n, len(LEVEL)))
    link = fit_link(np.ones(n), level, np.ones(n), people=np.arange(n), prior=SPEC.prior, read=ALL)
    assert link.basis == "activity"
    p = link.predict(np.ones((1, 1)), np.zeros((1, len(LEVEL))))
    assert p[0, 0] == pytest.approx(SPEC.prior)


def test_a_link_does_not_look_at_what_it_is_not_to_read():
    """Though the others would tell it more; and those it reads are weighed as if alone."""
    rng = np.random.default_rng(3)
    n = 10_000
    attention, level = rng.gamma(2.0, 0.5, n) + 0.05, rng.random((n, len(LEVEL)))
    z = -1.0 + 2.0 * np.log(level[:, 0] + 0.01) + 0.8 * np.log(level[:, 2] + 0.01)
    engaged = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    read = [1, 2]
    link = fit_link(attention, level, engaged, people=np.arange(n), prior=SPEC.prior, read=read)
    alone = fit_link(
        attention, level[:, read], engaged, people=np.arange(n), prior=SPEC.prior, read=range(2)
    )
    blinded = level.copy()
    blinded[:, [c for c in ALL if c not in read]] = 99.0

    for asked in (level, blinded):
        np.testing.assert_allclose(
            link.predict(attention[:, None], asked),
            alone.predict(attention[:, None], level[:, read]),
        )
        np.testing.assert_allclose(
            link.variance(attention[:, None], asked),
            alone.variance(attention[:, None], level[:, read]),
        )
    assert link.weights[2] == pytest.approx(0.7, abs=0.3)
