"""States to model inputs: the one function that training and serving share.

Training reads states at label times through the kernel, serving reads one packed state at
request time; both end in a `Reading`, and `matrix` makes the same float32 numbers of it. The
value at `t` is computed at `t`, doubt included: nothing stale is ever joined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.decay import FLOOR, NEVER_AT
from features.events.schema import DAY_US, HOUR_US, SECOND_US
from features.kinds import MOST_WEEKS
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT, Layout
from features.plan import Plan, plan_of
from features.signals import DOUBT_US
from features.spec import FeatureView
from features.state import State

ROWS: Final = 1_024  # made at a time: what they take stays in the cache
VELOCITY_FLOOR: Final = 1e-4  # events a day added to both rates of a velocity

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reading:
    """States read at their own moments.

    Args:
        at: Shape (n,), microseconds.
        values: Shape (n, n_counters or n_slots), decayed to `at`.
        last, first: Shape (n, n_channels), microseconds; NEVER_AT and its negative for never.
        bits, week: Shape (n, 2), the weeks with doubtful and with sure activity: bit i is week
            (newest - i); the newest week.
    """

    at: Times
    values: Floats
    last: Times
    first: Times
    bits: NDArray[np.uint64]
    week: Times

    def part(self, rows: slice) -> "Reading":
        """Some of the rows."""
        return Reading(
            self.at[rows], self.values[rows], self.last[rows], self.first[rows],
            self.bits[rows], self.week[rows],
        )  # fmt: skip


def read(states: Sequence[State | None], at: int, layout: Layout) -> Reading:
    """Read packed states at one moment; None reads like a state without events."""
    n, n_slots, n_channels = len(states), layout.n_slots, len(layout.channels)
    values = np.zeros((n, n_slots))
    last = np.full((n, n_channels), NEVER_AT, np.int64)
    first = np.full((n, n_channels), -NEVER_AT, np.int64)
    bits, week = np.zeros((n, 2), np.uint64), np.zeros((n, 2), np.int64)
    for row, state in enumerate(states):
        if state is None or state.at == NEVER_AT:
            continue
        if state.slots:
            slots = np.fromiter(state.slots, np.int64, len(state.slots))
            sums = np.fromiter(state.slots.values(), np.float64, len(state.slots))
            age_s = (at - state.at) / SECOND_US
            sums *= np.exp2(-age_s / layout.half_lives_s[slots])
            sums[np.abs(sums) < FLOOR] = 0.0
            values[row, slots] = sums
        for channel, moment in state.last.items():
            last[row, channel] = moment
        for channel, moment in state.first.items():
            first[row, channel] = moment
        for which, (some, newest) in enumerate(state.weeks):
            bits[row, which], week[row, which] = some, newest
    return Reading(np.full(n, at, np.int64), values, last, first, bits, week)


def matrix(reading: Reading, view: FeatureView, pool: Reading | None = None) -> NDArray[np.float32]:
    """The view's features, shape (n, n_features); NaN where a time or gap is missing.

    Args:
        pool: What all keys together read at the same moments (n rows, or one for all); needed
            where a rate of the view is pooled.
    """
    plan = plan_of(view)
    out = np.empty((len(reading.at), len(view.features)), np.float32)
    for begin in range(0, len(out), ROWS):
        rows = slice(begin, begin + ROWS)
        together = pool if pool is None or len(pool.at) == 1 else pool.part(rows)
        out[rows] = _features(reading.part(rows), plan, together)
    return out


def _features(reading: Reading, plan: Plan, pool: Reading | None) -> Floats:
    is_sound = ~_is_void(reading, plan)
    values = _counted(reading, plan, is_sound)
    last = _newest(reading, plan, is_sound)
    first = _oldest(reading, plan, is_sound)
    since_last = _days(reading.at, last, NEVER_AT)
    since_first = _days(reading.at, first, -NEVER_AT)
    out = np.empty((len(reading.at), plan.n_features))
    out[:, plan.decayed_to] = values[:, plan.decayed]
    out[:, plan.pace_to] = values[:, plan.pace] * plan.pace_scale
    out[:, plan.rate_to] = _rates(values, plan, pool)
    fast = values[:, plan.fast] / plan.fast_days
    slow = values[:, plan.slow] / plan.slow_days
    out[:, plan.velocity_to] = np.log(
        np.maximum(fast + VELOCITY_FLOOR, VELOCITY_FLOOR)
        / np.maximum(slow + VELOCITY_FLOOR, VELOCITY_FLOOR)
    )
    out[:, plan.recency_to] = since_last[:, plan.recency]
    out[:, plan.tenure_to] = since_first[:, plan.tenure]
    count = values[:, plan.gap_total] - 1.0
    span = since_first[:, plan.gap] - since_last[:, plan.gap]
    out[:, plan.gap_to] = np.where(count > 0.5, span / np.where(count > 0.5, count, 1.0), np.nan)
    age = since_last[:, plan.begun]
    is_of_age = (age >= plan.pending_after) & (age <= plan.pending_days)
    out[:, plan.pending_to] = (last[:, plan.begun] > last[:, plan.finished]) & is_of_age
    if plan.reads_weeks:
        _write_weeks(out, reading, plan, is_sound)
    return out


def rhythm(reading: Reading, layout: Layout) -> NDArray[np.float32]:
    """Hour-of-week activity, shape (n, 168), Monday 00 of the local clock first."""
    plan, weeks = plan_of(layout.view), reading.values[:, layout.n_counters :]
    is_sound = ~_is_void(reading, plan)[:, plan.active_doubt]
    sure, doubtful = weeks[:, :HOURS_PER_WEEK], weeks[:, HOURS_PER_WEEK : 2 * HOURS_PER_WEEK]
    return np.asarray(sure + doubtful * is_sound[:, None]).astype(np.float32)


def exposure(reading: Reading, layout: Layout) -> NDArray[np.float32]:
    """Mails delivered by hour of the week, shape (n, 168), decayed like the rhythm."""
    begin = layout.n_counters + 2 * HOURS_PER_WEEK
    return reading.values[:, begin:].astype(np.float32)


def _is_void(reading: Reading, plan: Plan) -> NDArray[np.bool_]:
    """Whether doubt voids doubtful evidence, shape (n, n_doubts); doubt 0 is none."""
    recent = reading.at[:, None] - reading.last <= DOUBT_US
    void = np.zeros((len(reading.at), len(plan.doubts)), np.bool_)
    for number, channels in enumerate(plan.doubts):
        if len(channels):
            void[:, number] = recent[:, channels].any(axis=1)
    return void


def _counted(reading: Reading, plan: Plan, is_sound: NDArray[np.bool_]) -> Floats:
    """Sure and sound evidence of each counter, shape (n, number of counters)."""
    counted = np.zeros((len(reading.at), plan.n_counters))
    counted[:, plan.sure_to] = reading.values[:, plan.sure_from]
    doubtful = reading.values[:, plan.doubtful_from] * is_sound[:, plan.doubtful_by]
    counted[:, plan.doubtful_to] += doubtful
    return counted


def _newest(reading: Reading, plan: Plan, is_sound: NDArray[np.bool_]) -> Times:
    newest = np.full((len(reading.at), plan.n_signals), NEVER_AT, np.int64)
    newest[:, plan.seen_to] = reading.last[:, plan.seen_from]
    maybe = np.where(is_sound[:, plan.maybe_by], reading.last[:, plan.maybe_from], NEVER_AT)
    newest[:, plan.maybe_to] = np.maximum(newest[:, plan.maybe_to], maybe)
    return newest


def _oldest(reading: Reading, plan: Plan, is_sound: NDArray[np.bool_]) -> Times:
    oldest = np.full((len(reading.at), plan.n_signals), -NEVER_AT, np.int64)
    oldest[:, plan.seen_to] = reading.first[:, plan.seen_from]
    maybe = np.where(is_sound[:, plan.maybe_by], reading.first[:, plan.maybe_from], -NEVER_AT)
    oldest[:, plan.maybe_to] = np.minimum(oldest[:, plan.maybe_to], maybe)
    return oldest


def _rates(values: Floats, plan: Plan, pool: Reading | None) -> Floats:
    prior = np.broadcast_to(plan.rate_prior, (len(values), len(plan.rate_prior)))
    weight = plan.rate_weight
    if plan.is_pooled.any() and pool is not None:
        whole = _counted(pool, plan, ~_is_void(pool, plan))
        top, bottom = whole[:, plan.rate_top], whole[:, plan.rate_bottom]
        empirical = (top + plan.rate_prior * weight) / (bottom + weight)
        prior = np.where(plan.is_pooled, empirical, prior)
    rates = (values[:, plan.rate_top] + prior * weight) / (values[:, plan.rate_bottom] + weight)
    return np.asarray(rates)


def _write_weeks(out: Floats, reading: Reading, plan: Plan, is_sound: NDArray[np.bool_]) -> None:
    """Streaks and numbers of active weeks, counted back from the week of the moment."""
    now = (reading.at // HOUR_US + MONDAY_SHIFT) // HOURS_PER_WEEK
    active = np.zeros((len(reading.at), MOST_WEEKS), np.bool_)  # column i: i weeks ago
    sound = np.stack([is_sound[:, plan.active_doubt], np.ones(len(now), np.bool_)], axis=1)
    ages = np.arange(MOST_WEEKS)
    for which in range(2):
        # A clock ahead of UTC may already be in next week: that week counts as this one.
        bit = ages[None, :] - (now - reading.week[:, which])[:, None]
        is_kept = (bit >= 0) & (bit < MOST_WEEKS)
        bits = reading.bits[:, which][:, None] >> np.where(is_kept, bit, 0).astype(np.uint64)
        active |= is_kept & ((bits & np.uint64(1)) == 1) & sound[:, which, None]
        ahead = (reading.week[:, which] > now) & sound[:, which]
        active[:, 0] |= ahead & ((reading.bits[:, which] & np.uint64(1)) == 1)
    this_week = active[:, 0].copy()
    active[:, 0] = True  # this week may still bring some: a run up to last week goes on
    run = np.cumprod(active, axis=1).sum(axis=1) - 1 + this_week
    active[:, 0] = this_week
    out[:, plan.streak_to] = run[:, None]
    counts = np.cumsum(active, axis=1)
    out[:, plan.weeks_to] = counts[:, plan.weeks_back - 1]


def _days(at: Times, moments: Times, never: int) -> Floats:
    days = (at[:, None] - moments) / DAY_US
    days[moments == never] = math.nan
    return days
