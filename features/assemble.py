"""States to model inputs: the one function that training and serving share.

Training reads states at label times through the kernel, serving reads one packed state at
request time; both end in a `Reading`, and `matrix` makes the same float32 numbers of it. The
value at `t` is computed at `t`: nothing stale is ever joined.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.decay import FLOOR, NEVER_AT
from features.events.schema import DAY_US, SECOND_US
from features.layout import Layout, layout_of
from features.spec import (
    DAY,
    Decayed,
    Feature,
    FeatureView,
    MeanGap,
    Pending,
    Rate,
    Recency,
    Tenure,
    Velocity,
)
from features.state import State

VELOCITY_FLOOR: Final = 1e-4  # events a day added to both rates of a velocity

Floats = NDArray[np.float64]
_Kind = TypeVar("_Kind", bound=Feature)


@dataclass(frozen=True, slots=True)
class Reading:
    """States read at their own moments.

    Args:
        at: Shape (n,), microseconds.
        values: Shape (n, n_slots), decayed to `at`.
        last, first: Shape (n, n_channels), microseconds; NEVER_AT and its negative for never.
    """

    at: NDArray[np.int64]
    values: Floats
    last: NDArray[np.int64]
    first: NDArray[np.int64]


def read(states: Sequence[State | None], at: int, layout: Layout) -> Reading:
    """Read packed states at one moment; None reads like a state without events."""
    n, n_slots, n_channels = len(states), layout.n_slots, len(layout.channels)
    values = np.zeros((n, n_slots))
    last = np.full((n, n_channels), NEVER_AT, np.int64)
    first = np.full((n, n_channels), -NEVER_AT, np.int64)
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
    return Reading(np.full(n, at, np.int64), values, last, first)


def matrix(reading: Reading, view: FeatureView) -> NDArray[np.float32]:
    """The view's features, shape (n, n_features); NaN where a time or gap is missing."""
    plan = _plan_of(view)
    n = len(reading.at)
    out = np.empty((n, len(view.features)), np.float64)
    values = reading.values
    since_last = _days(reading.at, reading.last, NEVER_AT)
    since_first = _days(reading.at, reading.first, -NEVER_AT)
    out[:, plan.decayed_to] = values[:, plan.decayed]
    weight = plan.rate_weight
    out[:, plan.rate_to] = (values[:, plan.rate_top] + plan.rate_prior * weight) / (
        values[:, plan.rate_bottom] + weight
    )
    fast = values[:, plan.fast] / plan.fast_days
    slow = values[:, plan.slow] / plan.slow_days
    out[:, plan.velocity_to] = np.log((fast + VELOCITY_FLOOR) / (slow + VELOCITY_FLOOR))
    out[:, plan.recency_to] = since_last[:, plan.recency]
    out[:, plan.tenure_to] = since_first[:, plan.tenure]
    count = values[:, plan.gap_total] - 1.0
    span = since_first[:, plan.gap] - since_last[:, plan.gap]
    out[:, plan.gap_to] = np.where(count > 0.5, span / np.where(count > 0.5, count, 1.0), np.nan)
    begun, finished = reading.last[:, plan.begun], reading.last[:, plan.finished]
    recent = since_last[:, plan.begun] <= plan.pending_days
    out[:, plan.pending_to] = (begun > finished) & recent
    return out.astype(np.float32)


def rhythm(reading: Reading, layout: Layout) -> NDArray[np.float32]:
    """Hour-of-week activity, shape (n, 168), Monday 00 of the local clock first."""
    return reading.values[:, layout.n_counters :].astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Where each kind of feature reads from and writes to: index arrays, one per role."""

    decayed_to: Any
    decayed: Any
    rate_to: Any
    rate_top: Any
    rate_bottom: Any
    rate_prior: Floats
    rate_weight: Floats
    velocity_to: Any
    fast: Any
    slow: Any
    fast_days: Floats
    slow_days: Floats
    recency_to: Any
    recency: Any
    tenure_to: Any
    tenure: Any
    gap_to: Any
    gap: Any
    gap_total: Any
    pending_to: Any
    begun: Any
    finished: Any
    pending_days: Floats


@lru_cache(maxsize=16)
def _plan_of(view: FeatureView) -> _Plan:
    layout = layout_of(view)
    slot = {counter: index for index, counter in enumerate(layout.counters)}
    channel = {signal: index for index, signal in enumerate(layout.channels)}

    def of(kind: type[_Kind]) -> tuple[Any, list[_Kind]]:
        found = [(i, f) for i, f in enumerate(view.features) if isinstance(f, kind)]
        return np.array([i for i, _ in found], np.int64), [f for _, f in found]

    def slots(counters: Sequence[Decayed]) -> Any:
        return np.array([slot[counter] for counter in counters], np.int64)

    decayed_to, decayed = of(Decayed)
    rate_to, rates = of(Rate)
    velocity_to, velocities = of(Velocity)
    recency_to, recencies = of(Recency)
    tenure_to, tenures = of(Tenure)
    gap_to, gaps = of(MeanGap)
    pending_to, pendings = of(Pending)
    return _Plan(
        decayed_to=decayed_to,
        decayed=slots(decayed),
        rate_to=rate_to,
        rate_top=slots([f.top for f in rates]),
        rate_bottom=slots([f.bottom for f in rates]),
        rate_prior=np.array([f.prior for f in rates]),
        rate_weight=np.array([f.prior_weight for f in rates]),
        velocity_to=velocity_to,
        fast=slots([f.fast for f in velocities]),
        slow=slots([f.slow for f in velocities]),
        fast_days=np.array([f.fast.half_life / DAY for f in velocities]),
        slow_days=np.array([f.slow.half_life / DAY for f in velocities]),
        recency_to=recency_to,
        recency=np.array([channel[f.signal] for f in recencies], np.int64),
        tenure_to=tenure_to,
        tenure=np.array([channel[f.signal] for f in tenures], np.int64),
        gap_to=gap_to,
        gap=np.array([channel[f.total.signal] for f in gaps], np.int64),
        gap_total=slots([f.total for f in gaps]),
        pending_to=pending_to,
        begun=np.array([channel[f.begun] for f in pendings], np.int64),
        finished=np.array([channel[f.finished] for f in pendings], np.int64),
        pending_days=np.array([f.days for f in pendings]),
    )


def _days(at: NDArray[np.int64], moments: NDArray[np.int64], never: int) -> Floats:
    days = (at[:, None] - moments) / DAY_US
    days[moments == never] = math.nan
    return days
