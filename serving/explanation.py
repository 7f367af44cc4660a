"""When a person is active, said in a few words: for people, never for a machine to read. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

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


class Habit(NamedTuple):
    """When in the week a person is active.

    Args:
        part: The place in `PARTS` that holds most of the activity; -1 where no model tells the
            hours apart.
        by_day: The share of the week in it, by day.
    """

    part: int
    by_day: list[float]


def habits(activities: Sequence[NDArray[np.float32]]) -> list[Habit]:
    """Of shares of the week in each hour, shape (168,) each, Monday 00 first."""
    weeks = np.concatenate(activities).reshape(len(activities), -1)
    is_flat = (weeks == weeks[:, :1]).all(axis=1)
    cells = weeks.astype(np.float64).reshape(len(weeks), 7, len(PARTS), -1).sum(axis=3)
    parts = cells.sum(axis=1).argmax(axis=1)
    by_day = cells[np.arange(len(weeks)), :, parts]
    return list(map(Habit, np.where(is_flat, -1, parts).tolist(), by_day.tolist()))


def explained(habit: Habit, *, active_hours: float, is_utc: bool) -> str:
    """One sentence such as "most active Tuesday evenings; 14 active hours".

    The part of the day that holds most of the activity, and of its days the one that stands out,
    or the weekdays, or the weekend, or none.

    Args:
        active_hours: How many are behind it.
        is_utc: Whether the week is that of UTC because nobody knows the person's clock.
    """
    if habit.part < 0:
        return NOTHING
    if active_hours < MIN_EVIDENCE:
        return LITTLE
    clock = " (UTC)" if is_utc else ""
    when = _days(habit.by_day, *PARTS[habit.part])
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
