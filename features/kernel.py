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
from features.layout import DOUBTFUL, HOUR_MEMORY, HOURS_PER_WEEK, MONDAY_SHIFT, SURE, Layout

_NEVER = NEVER_AT
_PER_US = 1.0 / SECOND_US
_MINUTE_US = 60 * SECOND_US

Array = NDArray[Any]


def tables_of(layout: Layout, *, with_weeks: bool = True) -> tuple[Array, ...]:
    """The layout as flat arrays: per event code a run of slots and a run of channels.

    Args:
        with_weeks: Whether the hours of the week are summed too, where the layout has them.
    """
    n_codes = len(layout.plain)
    slot_start = np.zeros(n_codes + 1, np.int64)
    channel_start = np.zeros(n_codes + 1, np.int64)
    slots: list[int] = []
    by_value: list[bool] = []
    channels: list[int] = []
    for code in range(n_codes):
        slots += [slot for slot, _ in layout.plain[code]]
        by_value += [weighted for _, weighted in layout.plain[code]]
        channels += layout.channels_of[code]
        slot_start[code + 1] = len(slots)
        channel_start[code + 1] = len(channels)
    rhythm = layout.n_counters if layout.has_rhythm and with_weeks else -1
    width = layout.n_slots if with_weeks else layout.n_counters
    spans, span_of = np.unique(layout.half_lives_s[:width], return_inverse=True)
    return (
        layout.half_lives_s[:width],
        slot_start,
        np.array(slots, np.int64),
        np.array(by_value, np.bool_),
        channel_start,
        np.array(channels, np.int64),
        layout.hour_kind if layout.tracks_hours else np.zeros_like(layout.hour_kind),
        layout.is_exposure,
        np.array(layout.hour_slots[DOUBTFUL], np.int64),
        np.array(layout.hour_slots[SURE], np.int64),
        np.array([rhythm, layout.renorm_us], np.int64),
        spans,
        span_of.astype(np.int64),
    )


@njit(cache=True)
def _faded(age_us: int, spans: Array, factors: Array) -> None:
    """What is left of a sum after some time: one power per half-life, not one per slot."""
    for span in range(spans.shape[0]):
        factors[span] = np.exp2(-(age_us * _PER_US) / spans[span])


@njit(cache=True, nogil=True)
def scan(events: Any, tables: Any, rows: Any, out: Any) -> None:  # noqa: C901, PLR0912, PLR0915
    """Read states at many moments in one pass.

    It is one function on purpose: handing arrays to helpers event by event costs 250 ns in
    reference counts, ten times the update itself. Which hours were counted is kept in a ring of
    `HOUR_MEMORY` places, which forgets exactly what a state forgets.

    Args:
        events: Of `records.placed`: the records and the begin of each key.
        tables: Of `tables_of`.
        rows: Three int64 arrays of shape (n_rows,), sorted by (key, moment): key, moment (a
            row sees the events with known_at before it) and its place in `out`.
        out: values (n_rows, n_slots) as of the moment, last and first (n_rows, n_channels),
            the bits of the weeks uint64 and the newest week int64, both (n_rows, 2).
    """
    told, start = events
    known, occurred, code = told["known_at"], told["occurred_at"], told["code"]
    value, offset_min = told["value"], told["utc_offset_min"]
    half_lives, slot_start, slots, by_value, channel_start, channels, hour_kind = tables[:7]
    is_exposure, doubtful_slots, sure_slots, limits, spans, span_of = tables[7:]
    row_key, row_at, place = rows
    values, lasts, firsts, bits_out, week_out = out
    rhythm, renorm_us = limits[0], limits[1]
    per_slot = 1.0 / half_lives
    n_slots, n_channels = values.shape[1], lasts.shape[1]
    sums, factors = np.zeros(n_slots), np.empty(spans.shape[0])
    last = np.full(n_channels, _NEVER, np.int64)
    first = np.full(n_channels, -_NEVER, np.int64)
    ring_key = np.full(HOUR_MEMORY, -1, np.int64)
    ring_hour = np.zeros(HOUR_MEMORY, np.int64)
    ring_kind = np.zeros(HOUR_MEMORY, np.uint8)
    bits = np.zeros(2, np.uint64)
    week = np.zeros(2, np.int64)
    m, k = row_key.shape[0], 0
    while k < m:
        r = row_key[k]
        i, end = start[r], start[r + 1]
        sums[:] = 0.0
        last[:] = _NEVER
        first[:] = -_NEVER
        bits[:] = 0
        week[:] = 0
        at = _NEVER
        newest_hour = _NEVER
        while k < m and row_key[k] == r:
            while i < end and known[i] < row_at[k]:
                t = occurred[i]
                if at == _NEVER:
                    at = t
                elif t - at > renorm_us:
                    _faded(t - at, spans, factors)
                    for slot in range(n_slots):
                        left = sums[slot] * factors[span_of[slot]]
                        sums[slot] = left if abs(left) >= FLOOR else 0.0
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
                kind = hour_kind[c]
                hour = (t + offset_min[i] * _MINUTE_US) // HOUR_US
                if rhythm >= 0 and is_exposure[c]:
                    slot = rhythm + 2 * HOURS_PER_WEEK + (hour + MONDAY_SHIFT) % HOURS_PER_WEEK
                    sums[slot] += np.exp2(age_s * per_slot[slot])
                if kind > 0:
                    which = kind - 1
                    w = (hour + MONDAY_SHIFT) // HOURS_PER_WEEK
                    if w > week[which]:
                        gone = w - week[which]
                        bits[which] = bits[which] << np.uint64(gone) if gone < 64 else np.uint64(0)
                        bits[which] |= np.uint64(1)
                        week[which] = w
                    elif week[which] - w < 64:
                        bits[which] |= np.uint64(1) << np.uint64(week[which] - w)
                if kind > 0 and hour > newest_hour - HOUR_MEMORY:
                    newest_hour = max(newest_hour, hour)
                    p = hour % HOUR_MEMORY
                    before = ring_kind[p] if ring_key[p] == r and ring_hour[p] == hour else 0
                    if kind > before:
                        ring_key[p], ring_hour[p], ring_kind[p] = r, hour, kind
                        age_s = (hour * HOUR_US - at) * _PER_US
                        of_week = (hour + MONDAY_SHIFT) % HOURS_PER_WEEK
                        for step in range(2):  # a sure hour takes the place of a doubtful one
                            amount, part = (1.0, kind) if step == 0 else (-1.0, before)
                            if part == DOUBTFUL:
                                for j in range(doubtful_slots.shape[0]):
                                    slot = doubtful_slots[j]
                                    sums[slot] += amount * np.exp2(age_s * per_slot[slot])
                            elif part == SURE:
                                for j in range(sure_slots.shape[0]):
                                    slot = sure_slots[j]
                                    sums[slot] += amount * np.exp2(age_s * per_slot[slot])
                            if rhythm >= 0 and part > 0:
                                slot = rhythm + of_week
                                if part == DOUBTFUL:
                                    slot += HOURS_PER_WEEK
                                sums[slot] += amount * np.exp2(age_s * per_slot[slot])
                i += 1
            age_us = row_at[k] - at if at != _NEVER else 0
            row = place[k]
            _faded(age_us, spans, factors)
            for slot in range(n_slots):
                left = sums[slot] * factors[span_of[slot]]
                values[row, slot] = left if abs(left) >= FLOOR else 0.0
            for channel in range(n_channels):
                lasts[row, channel] = last[channel]
                firsts[row, channel] = first[channel]
            for which in range(2):
                bits_out[row, which] = bits[which]
                week_out[row, which] = week[which]
            k += 1


@njit(cache=True, nogil=True)
def hours_kept(events: Any, hour_kind: Array) -> tuple[Array, Array, Array]:
    """The hours that each key's state remembers after all its events: key, hour, kind.

    Args:
        events: As for `scan`.
        hour_kind: By event code, shape (n_codes,).
    """
    told, start = events
    occurred, code, offset_min = told["occurred_at"], told["code"], told["utc_offset_min"]
    ring_key = np.full(HOUR_MEMORY, -1, np.int64)
    ring_hour = np.zeros(HOUR_MEMORY, np.int64)
    ring_kind = np.zeros(HOUR_MEMORY, np.uint8)
    n = told.shape[0]
    out_key, out_hour = np.empty(n, np.int64), np.empty(n, np.int64)
    out_kind = np.empty(n, np.uint8)
    filled = 0
    for r in range(start.shape[0] - 2):
        newest_hour = _NEVER
        begun = filled
        for i in range(start[r], start[r + 1]):
            kind = hour_kind[code[i]]
            hour = (occurred[i] + offset_min[i] * _MINUTE_US) // HOUR_US
            if kind == 0 or hour <= newest_hour - HOUR_MEMORY:
                continue
            newest_hour = max(newest_hour, hour)
            p = hour % HOUR_MEMORY
            is_known = ring_key[p] == r and ring_hour[p] == hour
            if not is_known:
                out_key[filled], out_hour[filled] = r, hour
                filled += 1
                ring_kind[p] = kind
            ring_key[p], ring_hour[p] = r, hour
            ring_kind[p] = max(ring_kind[p], kind)
        kept = begun
        for j in range(begun, filled):
            hour = out_hour[j]
            if hour > newest_hour - HOUR_MEMORY:
                out_key[kept], out_hour[kept] = r, hour
                out_kind[kept] = ring_kind[hour % HOUR_MEMORY]
                kept += 1
        filled = kept
    return out_key[:filled], out_hour[:filled], out_kind[:filled]


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
