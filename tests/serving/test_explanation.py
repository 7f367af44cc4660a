"""Laws of the explanation: it names what was planted, and says so when there is little."""

import numpy as np
import pytest

from serving.explanation import DAYS, LITTLE, NOTHING, PARTS, explained, habits


def week(days, hours) -> np.ndarray:
    shares = np.full((7, 24), 1.0)
    shares[np.ix_(days, hours)] = 20.0
    return (shares / shares.sum()).astype(np.float32).ravel()


def said(activity, active=14.0, *, is_utc=False) -> str:
    (habit,) = habits([activity])
    return explained(habit, active_hours=active, is_utc=is_utc)


@pytest.mark.parametrize("day", range(7))
@pytest.mark.parametrize("part", range(4))
def test_the_busiest_day_and_part_of_the_day_are_named(day, part):
    hours = range(6 * part, 6 * part + 6)
    assert said(week([day], hours)) == f"most active {DAYS[day]} {PARTS[part][1]}; 14 active hours"


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ([0, 1, 2, 3, 4], "weekday evenings"),
        ([5, 6], "weekend evenings"),
        (range(7), "in the evening"),
    ],
)
def test_days_alike_are_named_together(days, words):
    assert said(week(days, range(18, 24))).startswith(f"most active {words};")


@pytest.mark.parametrize("active", [0.0, 1.0, 2.9])
def test_little_evidence_is_said_and_no_habit_made_up(active):
    assert said(week([1], range(18, 24)), active) == LITTLE


def test_hours_of_utc_are_called_so_and_no_model_is_no_habit():
    assert "(UTC)" in said(week([1], range(18, 24)), is_utc=True)
    assert said(np.full(168, 1 / 168, np.float32)) == NOTHING
