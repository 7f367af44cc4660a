"""Activity as if a person were mailed evenly over the week.

People open when they are mailed, so their histogram is partly the sender's timetable. A mail
delivered in one hour invites answers for days, less with age; summed over the mails that is how
exposed each hour was. Part of all activity can only happen where a mail lies in the inbox; the
rest (visits, purchases) happens whenever the person likes. Dividing by both together leaves the
person's own rhythm.

Source: exposure-normalised rates, as in MODELLING 1.1 (c); measured on simulated worlds in
docs/benchmarks.md. Failure mode: how visible a mail of some age is differs between people.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.layout import HOURS_PER_WEEK

Weeks = NDArray[np.float64]

# How visible a mail is at each age in hours: soon seen or late. The shape of published time-to-open
# curves (a quarter within the hour, median about six hours, seven in ten within the day).
AGING: Final = 0.75 * np.exp(-np.arange(HOURS_PER_WEEK) / 7.0) + 0.25 * np.exp(
    -np.arange(HOURS_PER_WEEK) / 90.0
)
# Of what an evenly mailed person does, the share that needs a mail. From 0.3 to 0.7 makes little
# difference; 0 is the histogram itself, near 1 a few nights' visits outweigh everything.
EXPOSED: Final = 0.5


def toeplitz(aging: Weeks, period: int = HOURS_PER_WEEK) -> Weeks:
    """Shape (period, period): column s sums what lies in the hours after s, weighed by age.

    Args:
        aging: The weight of each age in hours, no longer than the period.
    """
    hours = np.arange(period)
    ages = (hours[:, None] - hours) % period
    return np.asarray(np.pad(aging, (0, period - len(aging)))[ages])


# Row h, column s: what mails delivered in hour h of the week add to how exposed hour s is.
_INVITES: Final = np.ascontiguousarray(toeplitz(AGING).T) / AGING.sum()


def evened(active: NDArray[Any], mails: NDArray[Any]) -> Weeks:
    """The activity of each hour of the week had mails come evenly; the sum is kept.

    Args:
        active: Active hours by hour of the week, shape (n, 168).
        mails: Mails delivered by hour of the week, shape (n, 168); a row of zeros changes nothing.
    """
    total = mails.sum(axis=1, keepdims=True)
    even = np.where(total > 0, total, 1.0) / HOURS_PER_WEEK
    # In place: a week of each of many takes longer to lay down anew than to reckon with.
    exposed = np.asarray(mails @ _INVITES)
    exposed /= even
    exposed[total[:, 0] <= 0] = 1.0
    exposed *= EXPOSED
    exposed += 1.0 - EXPOSED
    own: Weeks = np.divide(active, exposed, out=exposed)
    kept, sum_ = active.sum(axis=1, keepdims=True), own.sum(axis=1, keepdims=True)
    own *= kept / np.where(sum_ > 0, sum_, 1.0)
    return own
