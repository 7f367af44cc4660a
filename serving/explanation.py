"""When a person is active, said in a few words: for people, never for a machine to read. Pure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.hours import MIN_EVIDENCE

DAYS: Final = tuple(
    f"{day}day" for day in ["Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun"]
)
# Six hours each, from midnight.
PARTS: Final = (
    ("night", "nights"),
    ("morning", "mornings"),
    ("afternoon", "afternoons"),
    ("evening", "evenings"),
)
STANDS_OUT: Final = 1.25  # times the other days, from which a day is worth naming
LITTLE: Final = "little evidence: the hour of people alike"
NOTHING: Final = "no model tells the hours apart"


def explained(activity: NDArray[np.float32], *, active_hours: float, is_utc: bool) -> str:
    """One sentence such as "most active Tuesday evenings; 14 active hours".

    The part of the day that holds most of the activity, and of its days the one that stands out,
    or the weekdays, or the weekend, or none.

    Args:
        activity: Share of the week in each hour, shape (168,), Monday 00 first.
        active_hours: How many are behind it.
        is_utc: Whether the week is that of UTC because nobody knows the person's clock.
    """
    if (activity == activity[0]).all():
        return NOTHING
    if active_hours < MIN_EVIDENCE:
        return LITTLE
    cells = activity.astype(np.float64).reshape(7, len(PARTS), -1).sum(axis=2)
    # Four sums and seven numbers: lists are quicker than arrays here.
    by_part = [list(days) for days in zip(*cells.tolist(), strict=True)]
    part = max(range(len(PARTS)), key=lambda one: sum(by_part[one]))
    clock = " (UTC)" if is_utc else ""
    when = _days(by_part[part], *PARTS[part])
    return f"most active {when}{clock}; {round(active_hours)} active hours"


def _days(by_day: list[float], one: str, many: str) -> str:
    *_, second, first = sorted(by_day)
    if first >= STANDS_OUT * second:
        return f"{DAYS[by_day.index(first)]} {many}"
    week, weekend = sum(by_day[:5]) / 5, sum(by_day[5:]) / 2
    if week >= STANDS_OUT * weekend:
        return f"weekday {many}"
    if weekend >= STANDS_OUT * week:
        return f"weekend {many}"
    return f"in the {one}" if one != "night" else "at night"
