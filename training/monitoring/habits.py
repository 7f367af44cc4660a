"""Do the rhythms and tastes of the past still tell what people do? Two numbers a window.

* The rhythm: log likelihood of the hours in which people were active, by the champion's week of
  each, over that of a week of even hours. What moves everybody's clock takes more than all of it.
  The week of everybody is no measure: of a young log it is a handful of hours.
* The taste: log of how much more a person picked a topic in the past than everybody did, over
  what they picked now. Where tastes change it falls to zero, long before clicks are enough to say.

Failure mode: both compare with the windows before; a taste that wanders slowly is learnt anew
by the features while it does.
"""

from math import log
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from features.events.schema import DAY_US
from features.layout import HOURS_PER_WEEK
from models.runtime import Session
from training import labels
from training.choices import CHOSEN_TYPES
from training.dataset import PointInTime
from training.evidence import human
from training.monitoring.findings import ALPHA, Signal, Trigger, judged, unjudged
from training.monitoring.labelled import inputs_of
from training.monitoring.steps import FEWEST, step_of
from training.monitoring.windows import Windows
from training.rhythm import log_likelihood

RHYTHM, TASTE = "rhythm", "taste"
OVER: Final = {RHYTHM: "even hours", TASTE: "everybody's choices"}
PAST_DAYS: Final = 84.0  # of choices that a taste is read from
WORTH: Final = 5.0  # choices that everybody's taste is worth
MIN_PEOPLE: Final = 50
MAX_PEOPLE: Final = 4_000
LEAST: Final = 0.03  # nats; a smaller step does not matter


class Course(NamedTuple):
    """One number a window, oldest first (NaN for none), and the standard error of the last."""

    values: list[float]
    error: float


def rhythm_course(data: PointInTime, session: Session, windows: Windows) -> Course:
    """Nats over a week of even hours, by the champion's graph for send time."""
    engaged = labels.engagements(data.events)
    values, error = [], float("nan")
    for begin in windows.begins:
        inside = pl.col("occurred_at").is_between(begin, begin + windows.length_us, closed="left")
        keys = engaged.filter(inside).select("recipient_key").unique().sort("recipient_key")
        if len(keys) > MAX_PEOPLE:
            keys = keys.sample(MAX_PEOPLE, seed=7).sort("recipient_key")
        spine = keys.with_columns(pl.lit(begin, pl.Int64).alias("at"))
        nats = _nats(data, session, spine, engaged, windows) if len(keys) else np.empty(0)
        enough = len(nats) >= MIN_PEOPLE
        values.append(float(nats.mean()) if enough else float("nan"))
        error = float(nats.std(ddof=1) / np.sqrt(len(nats))) if enough else float("nan")
    return Course(values, error)


def taste_course(events: pl.LazyFrame, windows: Windows) -> Course:
    """Mean log lift of the topics that people picked, by what they picked in the weeks before."""
    weight = (1.0 / pl.col("topics").list.len()).alias("w")
    picked = (
        human(events)
        .filter(pl.col("type").is_in(CHOSEN_TYPES), pl.col("topics").list.len() > 0)
        .select("recipient_key", "occurred_at", "topics", weight)
        .collect()
        .explode("topics")
        .rename({"topics": "topic"})
    )
    values, error = [], float("nan")
    for begin in windows.begins:
        now = pl.col("occurred_at").is_between(begin, begin + windows.length_us, closed="left")
        past = pl.col("occurred_at").is_between(
            begin - round(PAST_DAYS * DAY_US), begin, closed="left"
        )
        lifts = _lifts(picked.filter(past), picked.filter(now))
        enough = len(lifts) >= MIN_PEOPLE
        values.append(float(lifts.mean()) if enough else float("nan"))
        error = float(lifts.std(ddof=1) / np.sqrt(len(lifts))) if enough else float("nan")
    return Course(values, error)


def habit_signal(name: str, model: str, course: Course) -> Signal:
    """The newest window beside those before; only a fall is a fault."""
    # One-sided: of both ends together the lower one has half.
    step = step_of(course.values, error=course.error, least=LEAST, alpha=2 * ALPHA)
    if step is None:
        need = f"{MIN_PEOPLE} people in the newest window and in {FEWEST} before"
        return unjudged(name, model, f"it needs {need}")
    return Signal(
        name, model, step.value, f"< {step.low:.3f}", judged(step.is_down),
        f"{step.value:.3f} nats over {OVER[name]}, usually {step.usual:.3f}",
        "people or clocks have changed: check `timezone` and `topics` of new events, then retrain"
        if step.is_down else "",
        Trigger.QUALITY,
    )  # fmt: skip


def _nats(
    data: PointInTime,
    session: Session,
    spine: pl.DataFrame,
    engaged: pl.DataFrame,
    windows: Windows,
) -> np.ndarray:
    rows = inputs_of("send_time", data, spine)
    later = labels.later_weeks(spine, engaged, window_us=windows.length_us)
    known = rows[:, : later.shape[1]].sum(axis=1) > 0
    if not known.any():
        return np.empty(0)
    activity = session.run(np.ascontiguousarray(rows[known]))["activity"].astype(np.float64)
    return log_likelihood(activity, later[known]) + log(HOURS_PER_WEEK)


def _lifts(past: pl.DataFrame, now: pl.DataFrame) -> np.ndarray:
    """Mean log lift of each person that has a past, shape (n,)."""
    if past.is_empty() or now.is_empty():
        return np.empty(0)
    everybody = past.group_by("topic").agg((pl.col("w").sum() / past["w"].sum()).alias("q"))
    own = past.group_by("recipient_key", "topic").agg(pl.col("w").sum().alias("own"))
    total = past.group_by("recipient_key").agg(pl.col("w").sum().alias("total"))
    each = (
        now.join(total, on="recipient_key", how="inner")
        .join(everybody, on="topic", how="inner")
        .join(own, on=["recipient_key", "topic"], how="left")
    )
    chance = (pl.col("own").fill_null(0.0) + WORTH * pl.col("q")) / (pl.col("total") + WORTH)
    lift = (chance / pl.col("q")).log()
    people = each.group_by("recipient_key").agg((lift * pl.col("w")).sum() / pl.col("w").sum())
    return people.sort("recipient_key").to_series(1).to_numpy()
