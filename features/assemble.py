"""States to model inputs: the one function that training and serving share.

Training reads states at label times through the kernel, serving reads one packed state at
request time; both end in a `Reading`, and `matrix` makes the same float32 numbers of it. The
value at `t` is computed at `t`, doubt included: nothing stale is ever joined.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.decay import NEVER_AT
from features.evened import evened
from features.events.schema import DAY_US, HOUR_US
from features.kinds import MOST_WEEKS
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT, Layout
from features.plan import Plan, plan_of
from features.reading import Floats, Reading, Times
from features.signals import DOUBT_US
from features.spec import FeatureView

# Rows made at a time: what they take stays in the cache. No power of two, because columns that
# far apart would share a few lines of it.
ROWS: Final = 500
VELOCITY_FLOOR: Final = 1e-4  # events a day added to both rates of a velocity
LEAST_GAP_DAYS: Final = 0.25  # between events, where lateness is measured by it

_NO_WEEK: Final = np.uint64(0)
_ONE: Final = np.uint64(1)


def matrix(reading: Reading, view: FeatureView, pool: Reading | None = None) -> NDArray[np.float32]:
    """The view's features, shape (n, n_features); NaN where a time or gap is missing.

    Args:
        pool: What all keys together read at the same moments (n rows, or one for all); needed
            where a rate of the view is pooled.
    """
    plan = plan_of(view)
    if len(reading.at) <= ROWS:  # nothing to cut, and nothing to copy together
        return np.ascontiguousarray(_features(reading, plan, pool).T)
    out = np.empty((len(reading.at), len(view.features)), np.float32)
    for begin in range(0, len(out), ROWS):
        rows = slice(begin, begin + ROWS)
        together = pool if pool is None or len(pool.at) == 1 else pool.part(rows)
        out[rows] = _features(reading.part(rows), plan, together).T
    return out


def _features(reading: Reading, plan: Plan, pool: Reading | None) -> NDArray[np.float32]:
    """The features of some rows, shape (n_features, n): a feature's values stand together."""
    last = np.ascontiguousarray(reading.last.T)
    is_sound = ~_is_void(reading.at, last, plan)
    values = _counted(reading.values, plan, is_sound)
    newest = _newest(last, plan, is_sound)
    since_last = _days(reading.at, newest, NEVER_AT)
    out = np.empty((plan.n_features, len(reading.at)), np.float32)
    out[plan.decayed_to] = values[plan.decayed]
    out[plan.recency_to] = since_last[plan.recency]
    out[plan.rate_to] = _rates(values, plan, pool)
    if plan.reads_velocity:
        out[plan.pace_to] = values[plan.pace] * plan.pace_scale
        out[plan.velocity_to] = np.log(
            np.maximum(values[plan.fast] / plan.fast_days + VELOCITY_FLOOR, VELOCITY_FLOOR)
            / np.maximum(values[plan.slow] / plan.slow_days + VELOCITY_FLOOR, VELOCITY_FLOOR)
        )
    if plan.reads_first:
        first = _oldest(np.ascontiguousarray(reading.first.T), plan, is_sound)
        since_first = _days(reading.at, first, -NEVER_AT)
        out[plan.tenure_to] = since_first[plan.tenure]
        if plan.reads_gaps:
            spans = since_first - since_last
            out[plan.gap_to] = _mean_gaps(spans[plan.gap], values[plan.gap_total])
            usual = _mean_gaps(spans[plan.overdue], values[plan.overdue_total])
            out[plan.overdue_to] = since_last[plan.overdue] / np.maximum(usual, LEAST_GAP_DAYS)
    if plan.reads_pending:
        age = since_last[plan.begun]
        is_of_age = (age >= plan.pending_after) & (age <= plan.pending_days)
        out[plan.pending_to] = (newest[plan.begun] > newest[plan.finished]) & is_of_age
    if plan.reads_weeks:
        _write_weeks(out, reading, plan, is_sound)
    return out


def _mean_gaps(span: Floats, total: Floats) -> Floats:
    """Mean days between events that lie in a span of days, NaN below two of them."""
    gaps = total - 1.0
    return np.where(gaps > 0.5, span / np.where(gaps > 0.5, gaps, 1.0), np.nan)


def rhythm(reading: Reading, layout: Layout) -> NDArray[np.float32]:
    """Activity by hour of the week as if mailed evenly, (n, 168); see `evened`."""
    return evened(activity(reading, layout), exposure(reading, layout)).astype(np.float32)


def shifted(weeks: NDArray[np.float32], offset_min: int) -> NDArray[np.float32]:
    """Hours of weeks in UTC (..., 168) as hours of a clock so many minutes ahead of it.

    An hour that falls into two of that clock is divided between them.
    """
    whole, minutes = divmod(offset_min, 60)
    part = np.float32(minutes / 60)
    turned = np.roll(weeks, whole, axis=-1)
    if not minutes:
        return turned
    return np.asarray((1 - part) * turned + part * np.roll(turned, 1, axis=-1))


def activity(reading: Reading, layout: Layout) -> NDArray[np.float32]:
    """Active hours by hour of the week, shape (n, 168), Monday 00 of the local clock first."""
    plan, weeks = plan_of(layout.view), reading.values[:, layout.n_counters :]
    is_sound = ~_is_void(reading.at, reading.last.T, plan)[plan.active_doubt]
    sure, doubtful = weeks[:, :HOURS_PER_WEEK], weeks[:, HOURS_PER_WEEK : 2 * HOURS_PER_WEEK]
    return np.asarray(sure + doubtful * is_sound[:, None]).astype(np.float32)


def exposure(reading: Reading, layout: Layout) -> NDArray[np.float32]:
    """Mails delivered by hour of the week, shape (n, 168), decayed like the rhythm."""
    begin = layout.n_counters + 2 * HOURS_PER_WEEK
    return reading.values[:, begin:].astype(np.float32)


def _is_void(at: Times, last: Times, plan: Plan) -> NDArray[np.bool_]:
    """Whether doubt voids doubtful evidence, shape (n_doubts, n); doubt 0 is none."""
    is_recent = at - last[plan.doubting] <= DOUBT_US
    return np.asarray((plan.doubts[:, :, None] & is_recent).any(axis=1))


def _counted(values: Floats, plan: Plan, is_sound: NDArray[np.bool_]) -> Floats:
    """Sure and sound evidence of each counter, shape (number of counters, n)."""
    slots = np.ascontiguousarray(values[:, : plan.n_slots].T)
    if plan.is_plain:
        return slots
    counted = np.zeros((plan.n_counters, len(values)))
    counted[plan.sure_to] = slots[plan.sure_from]
    counted[plan.doubtful_to] += slots[plan.doubtful_from] * is_sound[plan.doubtful_by]
    return counted


def _newest(last: Times, plan: Plan, is_sound: NDArray[np.bool_]) -> Times:
    """Of each signal the newest sure or sound time, shape (n_signals, n), from the channels'."""
    newest = np.full((plan.n_signals, last.shape[1]), NEVER_AT, np.int64)
    newest[plan.seen_to] = last[plan.seen_from]
    if not plan.reads_doubtful:
        return newest
    maybe = np.where(is_sound[plan.maybe_by], last[plan.maybe_from], NEVER_AT)
    newest[plan.maybe_to] = np.maximum(newest[plan.maybe_to], maybe)
    return newest


def _oldest(first: Times, plan: Plan, is_sound: NDArray[np.bool_]) -> Times:
    oldest = np.full((plan.n_signals, first.shape[1]), -NEVER_AT, np.int64)
    oldest[plan.seen_to] = first[plan.seen_from]
    if not plan.reads_doubtful:
        return oldest
    maybe = np.where(is_sound[plan.maybe_by], first[plan.maybe_from], -NEVER_AT)
    oldest[plan.maybe_to] = np.minimum(oldest[plan.maybe_to], maybe)
    return oldest


def _rates(values: Floats, plan: Plan, pool: Reading | None) -> Floats:
    prior, weight = plan.rate_prior, plan.rate_weight
    if plan.reads_pool and pool is not None:
        whole = _counted(pool.values, plan, ~_is_void(pool.at, pool.last.T, plan))
        top, bottom = whole[plan.rate_top], whole[plan.rate_bottom]
        prior = np.where(plan.is_pooled, (top + prior * weight) / (bottom + weight), prior)
    rates = (values[plan.rate_top] + prior * weight) / (values[plan.rate_bottom] + weight)
    return np.asarray(rates)


def _write_weeks(
    out: NDArray[np.float32], reading: Reading, plan: Plan, is_sound: NDArray[np.bool_]
) -> None:
    """Streaks and numbers of active weeks, counted back from the week of the moment."""
    now = (reading.at // HOUR_US + MONDAY_SHIFT) // HOURS_PER_WEEK
    bits, ago = reading.bits, now[:, None] - reading.week
    weeks = np.abs(ago)
    far = np.minimum(weeks, MOST_WEEKS - 1).astype(np.uint64)
    is_past = ago >= 0
    seen = np.where(is_past, bits << far, bits >> far)
    seen[weeks >= MOST_WEEKS] = 0
    # A clock ahead of UTC may already be in next week: that week counts as this one.
    seen |= np.where(is_past, _NO_WEEK, bits & _ONE)
    doubtful = np.where(is_sound[plan.active_doubt], seen[:, 0], _NO_WEEK)
    active = doubtful | seen[:, 1]  # bit i: i weeks ago
    # This week may still bring some: a run up to last week goes on.
    gap = ~(active | _ONE)
    run = np.bitwise_count((gap & -gap) - _ONE).astype(np.int64) - 1 + (active & _ONE == 1)
    out[plan.streak_to] = run
    out[plan.weeks_to] = np.bitwise_count(active & plan.weeks_back)


def _days(at: Times, moments: Times, never: int) -> Floats:
    return np.where(moments == never, math.nan, (at - moments) / DAY_US)
