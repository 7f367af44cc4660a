"""Laws of how mails age: a planted curve is found, whatever hour the sender mails at."""

import numpy as np
import pytest

from training.aging import DAY_H, USUAL, fit_aging, seen_after

AGES = np.arange(DAY_H)
STEEP = np.exp(-AGES / 3.0) / np.exp(-AGES / 3.0).sum()
SLOW = np.full(DAY_H, 1 / DAY_H)


def mailed(aging: np.ndarray, n: int, seed: int, *, hour: int, rate: float = 0.25):
    """Mails of one hour of the day to early and late people, and when each was answered."""
    rng = np.random.default_rng(seed)
    hours = np.arange(168) % 24
    kinds = np.stack([np.exp(-0.5 * ((hours - peak) / 3.0) ** 2) + 0.1 for peak in (9, 20)])
    kinds /= kinds.sum(axis=1, keepdims=True)
    activity = kinds[rng.integers(0, 2, n)]
    slot = rng.integers(0, 7, n) * 24 + hour
    hazard = rate * aging * 168 * np.take_along_axis(activity, (slot[:, None] + AGES) % 168, axis=1)
    noticed = np.cumsum(hazard, axis=1) > rng.exponential(1.0, n)[:, None]
    age = np.where(noticed.any(axis=1), noticed.argmax(axis=1) + rng.random(n), np.inf)
    return activity, slot, age


@pytest.mark.parametrize("hour", [2, 10, 18])
@pytest.mark.parametrize("aging", [STEEP, SLOW], ids=["steep", "slow"])
def test_a_planted_curve_is_found_whatever_hour_mails_go_out(aging, hour):
    found = fit_aging(*mailed(aging, 40_000, 1, hour=hour))
    assert found.sum() == pytest.approx(1.0)
    assert np.abs(found - aging).sum() < 0.12
    assert np.abs(USUAL - aging).sum() > 0.4


def test_answers_without_the_activity_would_repeat_the_senders_timetable():
    """Ten hours after ten in the morning comes the evening, not a second youth of the mail."""
    activity, slot, age = mailed(STEEP, 40_000, 2, hour=10)
    answers = np.histogram(age[np.isfinite(age)], bins=DAY_H, range=(0, DAY_H))[0]
    raw = np.abs(answers / answers.sum() - STEEP).sum()
    assert np.abs(fit_aging(activity, slot, age) - STEEP).sum() < 0.5 * raw


def test_few_answers_leave_the_usual_curve():
    for n, most in ((0, 1e-9), (20, 0.1)):
        found = fit_aging(*mailed(SLOW, n, 3, hour=10))
        assert np.abs(found - USUAL).sum() <= most


def test_the_curve_decides_how_far_ahead_a_send_looks():
    evening = np.full((1, 168), 1e-3)
    evening[0, 20] = 1.0
    steep, slow = (seen_after(evening, aging)[0] for aging in (STEEP, SLOW))
    assert steep[20] / steep[10] > 5 * slow[20] / slow[10]
