"""Where each kind of feature reads from and writes to: a view compiled to index arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.kinds import (
    DAY,
    Decayed,
    Feature,
    MeanGap,
    Overdue,
    Pace,
    Pending,
    Rate,
    Recency,
    Streak,
    Tenure,
    Velocity,
    WeeksActive,
)
from features.layout import layout_of
from features.signals import Signal
from features.spec import FeatureView, counters_of, signals_of

WEEK: Final = 7 * DAY
Floats = NDArray[np.float64]
_Kind = TypeVar("_Kind", bound=Feature)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Index arrays, one per role; `*_to` are places of the features.

    What belongs to a feature is a row, so numbers by feature have the shape (n, 1).

    Args:
        doubting: The channels that doubt; `doubts` says for each combination of them which it is
            of, shape (n_doubts, n_doubting); number 0 is none.
        sure_*, doubtful_*: From slots to counters, and by which doubt.
        seen_*, maybe_*: From channels to signals, sure and doubtful, and by which doubt.
        weeks_back: One bit for each of the weeks that are counted.
        active_doubt: The number of the doubt in the view's activity.
        is_plain: Whether the slots are the counters, one by one.
        reads_*: Whether the view has anything of the kind: steps over nothing cost as much as
            steps over one row.
    """

    n_features: int
    n_slots: int
    n_counters: int
    n_signals: int
    doubting: Any
    doubts: NDArray[np.bool_]
    sure_from: Any
    sure_to: Any
    doubtful_from: Any
    doubtful_to: Any
    doubtful_by: Any
    seen_from: Any
    seen_to: Any
    maybe_from: Any
    maybe_to: Any
    maybe_by: Any
    active_doubt: int
    is_plain: bool
    decayed_to: Any
    decayed: Any
    pace_to: Any
    pace: Any
    pace_scale: Floats
    rate_to: Any
    rate_top: Any
    rate_bottom: Any
    rate_prior: Floats
    rate_weight: Floats
    is_pooled: NDArray[np.bool_]
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
    overdue_to: Any
    overdue: Any
    overdue_total: Any
    pending_to: Any
    begun: Any
    finished: Any
    pending_after: Floats
    pending_days: Floats
    streak_to: Any
    weeks_to: Any
    weeks_back: Any
    reads_doubtful: bool
    reads_pool: bool
    reads_velocity: bool
    reads_first: bool
    reads_gaps: bool
    reads_pending: bool
    reads_weeks: bool


@lru_cache(maxsize=16)
def plan_of(view: FeatureView) -> Plan:
    """Compile a view; the same view gives the same object."""
    layout = layout_of(view)
    counter = {c: index for index, c in enumerate(counters_of(view.features))}
    signal = {s: index for index, s in enumerate(signals_of(view))}
    doubts: dict[tuple[Signal, ...], int] = {(): 0}
    for doubted in [*(c.signal for c in counter), *signal, view.active]:
        doubts.setdefault(doubted.doubted_by, len(doubts))
    channel = {s: index for index, (s, doubtful) in enumerate(layout.channels) if not doubtful}
    doubting = [s for s in dict.fromkeys(s for by in doubts for s in by) if s in channel]

    def of(kind: type[_Kind]) -> tuple[Any, list[_Kind]]:
        found = [(i, f) for i, f in enumerate(view.features) if isinstance(f, kind)]
        return _ints([i for i, _ in found]), [f for _, f in found]

    def counters(wanted: Sequence[Decayed]) -> Any:
        return _ints([counter[c] for c in wanted])

    def signals(wanted: Sequence[Signal]) -> Any:
        return _ints([signal[s] for s in wanted])

    sure = [(i, c) for i, (c, doubtful) in enumerate(layout.slots) if not doubtful]
    unsure = [(i, c) for i, (c, doubtful) in enumerate(layout.slots) if doubtful]
    seen = [(i, s) for i, (s, doubtful) in enumerate(layout.channels) if not doubtful]
    maybe = [(i, s) for i, (s, doubtful) in enumerate(layout.channels) if doubtful]
    decayed_to, decayed = of(Decayed)
    pace_to, paces = of(Pace)
    rate_to, rates = of(Rate)
    velocity_to, velocities = of(Velocity)
    recency_to, recencies = of(Recency)
    tenure_to, tenures = of(Tenure)
    gap_to, gaps = of(MeanGap)
    overdue_to, overdue = of(Overdue)
    pending_to, pendings = of(Pending)
    streak_to, streaks = of(Streak)
    weeks_to, weeks = of(WeeksActive)
    return Plan(
        n_features=len(view.features),
        n_slots=layout.n_counters,
        n_counters=len(counter),
        n_signals=len(signal),
        doubting=_ints([channel[s] for s in doubting]),
        doubts=np.array([[s in by for s in doubting] for by in doubts], np.bool_),
        sure_from=_ints([i for i, _ in sure]),
        sure_to=counters([c for _, c in sure]),
        doubtful_from=_ints([i for i, _ in unsure]),
        doubtful_to=counters([c for _, c in unsure]),
        doubtful_by=_ints([doubts[c.signal.doubted_by] for _, c in unsure]),
        seen_from=_ints([i for i, _ in seen]),
        seen_to=signals([s for _, s in seen]),
        maybe_from=_ints([i for i, _ in maybe]),
        maybe_to=signals([s for _, s in maybe]),
        maybe_by=_ints([doubts[s.doubted_by] for _, s in maybe]),
        active_doubt=doubts[view.active.doubted_by],
        is_plain=[c for c, _ in layout.slots] == list(counter),
        decayed_to=decayed_to,
        decayed=counters(decayed),
        pace_to=pace_to,
        pace=counters([f.counter for f in paces]),
        pace_scale=_column([log(2.0) * WEEK / f.counter.half_life for f in paces]),
        rate_to=rate_to,
        rate_top=counters([f.top for f in rates]),
        rate_bottom=counters([f.bottom for f in rates]),
        rate_prior=_column([f.prior for f in rates]),
        rate_weight=_column([f.prior_weight for f in rates]),
        is_pooled=_column([f.pooled for f in rates]).astype(np.bool_),
        velocity_to=velocity_to,
        fast=counters([f.fast for f in velocities]),
        slow=counters([f.slow for f in velocities]),
        fast_days=_column([f.fast.half_life / DAY for f in velocities]),
        slow_days=_column([f.slow.half_life / DAY for f in velocities]),
        recency_to=recency_to,
        recency=signals([f.signal for f in recencies]),
        tenure_to=tenure_to,
        tenure=signals([f.signal for f in tenures]),
        gap_to=gap_to,
        gap=signals([f.total.signal for f in gaps]),
        gap_total=counters([f.total for f in gaps]),
        overdue_to=overdue_to,
        overdue=signals([f.total.signal for f in overdue]),
        overdue_total=counters([f.total for f in overdue]),
        pending_to=pending_to,
        begun=signals([f.begun for f in pendings]),
        finished=signals([f.finished for f in pendings]),
        pending_after=_column([f.after_days for f in pendings]),
        pending_days=_column([f.days for f in pendings]),
        streak_to=streak_to,
        weeks_to=weeks_to,
        weeks_back=np.array([[2**f.weeks - 1] for f in weeks], np.uint64).reshape(-1, 1),
        reads_doubtful=bool(maybe),
        reads_pool=any(f.pooled for f in rates),
        reads_velocity=bool(paces or velocities),
        reads_first=bool(tenures or gaps or overdue),
        reads_gaps=bool(gaps or overdue),
        reads_pending=bool(pendings),
        reads_weeks=bool(streaks or weeks),
    )


def _ints(numbers: Sequence[int]) -> Any:
    """Places as an index; a slice where they stand in a row, which numpy moves without a copy."""
    begin, n = (numbers[0], len(numbers)) if numbers else (0, 0)
    if list(numbers) == list(range(begin, begin + n)):
        return slice(begin, begin + n)
    return np.array(numbers, np.int64)


def _column(numbers: Sequence[float]) -> Floats:
    return np.array(numbers, np.float64)[:, None]
