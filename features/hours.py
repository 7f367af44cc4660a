"""Active hours, weeks and exposure of a batch of events, for many states at once.

Which hours a state still remembers depends on the order of events, and so it does here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.block import APART, Block
from features.decay import NEVER_AT
from features.events.schema import HOUR_US
from features.kinds import MOST_WEEKS
from features.layout import DOUBTFUL, HOUR_MEMORY, HOURS_PER_WEEK, MONDAY_SHIFT, SURE, Layout
from features.sums import Sums

Array = NDArray[Any]


def placed(
    sums: Sums, head: Array, block: Block, told: tuple[Array, Array, Array, Array], layout: Layout
) -> tuple[Array, Array, Array]:
    """Count events in their hours and weeks; the hours that are remembered."""
    rows, at, codes, hours = told
    weekly = layout.n_counters
    if layout.has_rhythm:
        shown = layout.is_exposure[codes]
        of_week = (hours[shown] + MONDAY_SHIFT) % HOURS_PER_WEEK
        sums.add(rows[shown], weekly + 2 * HOURS_PER_WEEK + of_week, at[shown], 1.0)
    kind = layout.hour_kind[codes].astype(np.int64)
    is_active = kind > 0
    rows, hours, kind = rows[is_active], hours[is_active], kind[is_active]
    for name, which in (("doubtful", DOUBTFUL), ("sure", SURE)):
        mine = kind == which
        _add_weeks(head, name, rows[mine], (hours[mine] + MONDAY_SHIFT) // HOURS_PER_WEEK)
    known_rows, known_hours, known_kinds = block.hours
    newest = np.full(len(head), NEVER_AT, np.int64)
    np.maximum.at(newest, known_rows, known_hours)
    on_time = _on_time(newest, rows, hours)
    rows, hours, kind = rows[on_time], hours[on_time], kind[on_time]
    np.maximum.at(newest, rows, hours)
    number = np.concatenate([known_rows * APART + known_hours, rows * APART + hours])
    every, where = np.unique(number, return_inverse=True)
    before, after = np.zeros(len(every), np.int64), np.zeros(len(every), np.int64)
    before[where[: len(known_rows)]] = known_kinds
    np.maximum.at(after, where, np.concatenate([known_kinds, kind]))
    every_rows, every_hours = every // APART, every % APART
    for part, amount in ((after, 1.0), (before, -1.0)):  # a sure hour replaces a doubtful one
        for which in (DOUBTFUL, SURE):
            mine = (part == which) & (before != after)
            _add_hours(sums, every_rows[mine], every_hours[mine], which, amount, layout)
    kept = every_hours > newest[every_rows] - HOUR_MEMORY
    return every_rows[kept], every_hours[kept], after[kept]


def _on_time(newest: Array, rows: Array, hours: Array) -> Array:
    """Whether each hour was still remembered when its event came, in the order of events."""
    order = np.argsort(rows, kind="stable")
    mine, run = rows[order], hours[order]
    begin = np.searchsorted(mine, mine)
    is_first = begin == np.arange(len(mine))
    # The newest hour so far, of the state and of the row's earlier events; rows keep apart.
    so_far = np.maximum(run, np.maximum(newest[mine], 0)) + mine * APART
    so_far = np.maximum.accumulate(so_far) - mine * APART
    earlier = np.where(is_first, newest[mine], np.concatenate([[0], so_far[:-1]])[: len(run)])
    found = np.empty(len(rows), np.bool_)
    found[order] = run > earlier - HOUR_MEMORY
    return found


def _add_hours(
    sums: Sums, rows: Array, hours: Array, which: int, amount: float, layout: Layout
) -> None:
    slots = np.array(layout.hour_slots[which], np.int64)
    at = hours * HOUR_US
    n = len(slots)
    sums.add(np.repeat(rows, n), np.tile(slots, len(rows)), np.repeat(at, n), amount)
    if layout.has_rhythm:
        begin = layout.n_counters + (HOURS_PER_WEEK if which == DOUBTFUL else 0)
        sums.add(rows, begin + (hours + MONDAY_SHIFT) % HOURS_PER_WEEK, at, amount)


def _add_weeks(head: Array, name: str, rows: Array, weeks: Array) -> None:
    newest = head[f"{name}_week"].astype(np.int64)
    before = newest.copy()
    np.maximum.at(newest, rows, weeks)
    bits = _shifted(head[name], newest - before)
    np.bitwise_or.at(bits, rows, _shifted(np.ones(len(rows), np.uint64), newest[rows] - weeks))
    head[name], head[f"{name}_week"] = bits, newest


def _shifted(bits: Array, by: Array) -> Array:
    """Bits moved to older weeks; nothing is left of those too old."""
    moved = bits << np.minimum(by, MOST_WEEKS - 1).astype(np.uint64)
    return np.where(by < MOST_WEEKS, moved, np.uint64(0))
