"""The update rule compiled over arrays: one pass over sorted events reads many moments.

Cost is linear in events plus rows asked for; nothing multiplies. Events come sorted by
(key, known_at): an event takes effect when it is known and weighs by when it happened, so a
row reads exactly what was known strictly before its moment. Times are int64 microseconds,
sums float64; weights are renewed after `renorm_us`, so no power overflows.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.decay import FLOOR, NEVER_AT
from features.events.schema import HOUR_US, SECOND_US
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT, N_CODES, Layout

_NEVER = NEVER_AT
_PER_US = 1.0 / SECOND_US

Array = NDArray[Any]


def tables_of(layout: Layout) -> tuple[Array, ...]:
    """The layout as flat arrays: per event code a run of slots and a run of channels."""
    slot_start = np.zeros(N_CODES + 1, np.int64)
    channel_start = np.zeros(N_CODES + 1, np.int64)
    slots: list[int] = []
    by_value: list[bool] = []
    channels: list[int] = []
    for code in range(N_CODES):
        slots += [slot for slot, _ in layout.plain[code]]
        by_value += [weighted for _, weighted in layout.plain[code]]
        channels += layout.channels_of[code]
        slot_start[code + 1] = len(slots)
        channel_start[code + 1] = len(channels)
    rhythm = layout.n_counters if layout.has_rhythm else -1
    spans, span_of = np.unique(layout.half_lives_s, return_inverse=True)
    return (
        layout.half_lives_s,
        slot_start,
        np.array(slots, np.int64),
        np.array(by_value, np.bool_),
        channel_start,
        np.array(channels, np.int64),
        layout.active_slots,
        np.array([rhythm, layout.renorm_us], np.int64),
        spans,
        span_of.astype(np.int64),
    )


@njit(cache=True, nogil=True)
def counting_order(key: Array, n_keys: int) -> Array:
    """The stable order by key, shape (n,): one pass to count and one to place, no sort.

    Args:
        key: Numbers from 0 to n_keys - 1, shape (n,).
    """
    start = np.zeros(n_keys + 1, np.int64)
    for i in range(key.shape[0]):
        start[key[i] + 1] += 1
    for k in range(n_keys):
        start[k + 1] += start[k]
    order = np.empty(key.shape[0], np.int64)
    for i in range(key.shape[0]):
        order[start[key[i]]] = i
        start[key[i]] += 1
    return order


@njit(cache=True)
def _faded(age_us: int, spans: Array, span_of: Array, sums: Array, out: Array) -> None:
    """The sums after some time, into `out`: one power per half-life, not one per slot."""
    factors = np.empty(spans.shape[0])
    for span in range(spans.shape[0]):
        factors[span] = np.exp2(-(age_us * _PER_US) / spans[span])
    for slot in range(sums.shape[0]):
        value = sums[slot] * factors[span_of[slot]]
        out[slot] = value if abs(value) >= FLOOR else 0.0


@njit(cache=True, nogil=True)
def scan(events: Any, tables: Any, rows: Any, out: Any) -> None:  # noqa: C901
    """Read states at many moments in one pass.

    It is one function on purpose: handing arrays to helpers event by event costs 250 ns in
    reference counts, ten times the update itself.

    Args:
        events: Six arrays of shape (n_events,), sorted by (key, known_at): key int64,
            known_at, occurred_at int64, code uint8, value float64, hour int64 (the local hour
            that this event is the first known of, else -1).
        tables: Of `tables_of`.
        rows: Three int64 arrays of shape (n_rows,), sorted by (key, moment): key, moment (a
            row sees the events with known_at before it) and its place in `out`.
        out: values (n_rows, n_slots) as of the moment, last and first (n_rows, n_channels).
    """
    key, known, occurred, code, value, hour = events
    half_lives, slot_start, slots, by_value, channel_start, channels = tables[:6]
    active_slots, limits, spans, span_of = tables[6:]
    row_key, row_at, place = rows
    values, lasts, firsts = out
    rhythm, renorm_us = limits[0], limits[1]
    per_slot = 1.0 / half_lives
    n_slots, n_channels = values.shape[1], lasts.shape[1]
    sums = np.zeros(n_slots)
    last = np.full(n_channels, _NEVER, np.int64)
    first = np.full(n_channels, -_NEVER, np.int64)
    n, m, i, k = key.shape[0], row_key.shape[0], 0, 0
    while k < m:
        r = row_key[k]
        while i < n and key[i] < r:
            i += 1
        sums[:] = 0.0
        last[:] = _NEVER
        first[:] = -_NEVER
        at = _NEVER
        while k < m and row_key[k] == r:
            while i < n and key[i] == r and known[i] < row_at[k]:
                t = occurred[i]
                if at == _NEVER:
                    at = t
                elif t - at > renorm_us:
                    _faded(t - at, spans, span_of, sums, sums)
                    at = t
                age_s = (t - at) * _PER_US
                c = code[i]
                for j in range(slot_start[c], slot_start[c + 1]):
                    amount = value[i] if by_value[j] else 1.0
                    if not np.isnan(amount):
                        sums[slots[j]] += amount * np.exp2(age_s * per_slot[slots[j]])
                for j in range(channel_start[c], channel_start[c + 1]):
                    last[channels[j]] = max(last[channels[j]], t)
                    first[channels[j]] = min(first[channels[j]], t)
                if hour[i] >= 0:
                    age_s = (hour[i] * HOUR_US - at) * _PER_US
                    for j in range(active_slots.shape[0]):
                        sums[active_slots[j]] += np.exp2(age_s * per_slot[active_slots[j]])
                    if rhythm >= 0:
                        slot = rhythm + (hour[i] + MONDAY_SHIFT) % HOURS_PER_WEEK
                        sums[slot] += np.exp2(age_s * per_slot[slot])
                i += 1
            age_us = row_at[k] - at if at != _NEVER else 0
            _faded(age_us, spans, span_of, sums, values[place[k]])
            lasts[place[k], :] = last
            firsts[place[k], :] = first
            k += 1


@njit(cache=True, nogil=True)
def scan_one(events: Any, rows: Any, half_life: float, renorm_us: int, out: Array) -> None:
    """The same for a single weighted counter per key, such as one recipient's one topic.

    Args:
        events: key, known_at, occurred_at int64 and amount float64, shape (n_events,),
            sorted by (key, known_at).
        rows: key and moment, int64, shape (n_rows,), sorted together.
        out: Shape (n_rows,), the counter as of the moment.
    """
    key, known, occurred, amount = events
    row_key, row_at = rows
    n, m, i, k = key.shape[0], row_key.shape[0], 0, 0
    while k < m:
        r = row_key[k]
        while i < n and key[i] < r:
            i += 1
        total = 0.0
        at = _NEVER
        while k < m and row_key[k] == r:
            while i < n and key[i] == r and known[i] < row_at[k]:
                if at == _NEVER:
                    at = occurred[i]
                elif occurred[i] - at > renorm_us:
                    total *= np.exp2(-((occurred[i] - at) * _PER_US) / half_life)
                    at = occurred[i]
                total += amount[i] * np.exp2((occurred[i] - at) * _PER_US / half_life)
                i += 1
            value = 0.0
            if at != _NEVER:
                value = total * np.exp2(-((row_at[k] - at) * _PER_US) / half_life)
            out[k] = value if abs(value) >= FLOOR else 0.0
            k += 1
