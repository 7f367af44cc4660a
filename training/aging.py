"""How a mail ages: the hazard of its first human answer by whole hours since delivery.

    v(j) ~ answers in hour j / activity of the hours j of all mails not answered before

Pooled over mature deliveries to people whose opens are seen. What people do in the hour is
divided out, or the curve would repeat the sender's timetable: mail of 10 o'clock is nine hours
old when the evening comes.

Source: occurrence over exposure, as in piecewise-exponential survival. Failure mode: who does
not care stays unanswered and is exposed for all hours; v falls a little faster than a mail
does in the eyes of one person.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.evened import AGING, toeplitz
from features.layout import HOURS_PER_WEEK

Floats = NDArray[np.float64]

DAY_H: Final = 24  # the label's window
USUAL: Final = AGING[:DAY_H] / AGING[:DAY_H].sum()
WORTH: Final = 10.0  # answers in an hour of age that the usual curve weighs against


def fit_aging(activity: Floats, slot: NDArray[np.int64], age_h: Floats) -> Floats:
    """The share of the first day's visibility at each age, shape (24,), sums to one.

    Args:
        activity: Of each mail's recipient over the week, shape (n, 168).
        slot: Hour of the week of each delivery, shape (n,), on the clock of `activity`.
        age_h: Hours from delivery to the first human answer, infinite without, shape (n,).
    """
    ages = np.arange(DAY_H)
    hours = (slot[:, None] + ages) % HOURS_PER_WEEK
    exposed = np.take_along_axis(activity, hours, axis=1) * HOURS_PER_WEEK
    exposure = (exposed * (age_h[:, None] >= ages)).sum(axis=0)
    answers = np.histogram(age_h[age_h < DAY_H], bins=DAY_H, range=(0, DAY_H))[0]
    usual = USUAL * exposure
    expected = usual * (answers.sum() / max(float(usual.sum()), 1e-12))
    aging = USUAL * (answers + WORTH) / (expected + WORTH)
    return np.asarray(aging / aging.sum())


def seen_after(activity: Floats, aging: Floats = USUAL) -> Floats:
    """Share of attention that a mail sent in each hour meets in its first day, times 168."""
    return np.asarray(activity @ toeplitz(aging)) * HOURS_PER_WEEK
