"""Events of a log put by key, compiled: keys are numbered, counted, and their events placed.

Failure mode: none of these checks its arrays; columns of different lengths read past an end.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FEW = 1_024
_ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads whatever differs into the upper half

Array = NDArray[Any]


def distinct(pairs: Array) -> tuple[Array, Array]:
    """Number pairs of 64-bit words by their first appearance: one pass, one probe a pair.

    Args:
        pairs: Shape (n, 2), uint64.

    Returns:
        The number of each pair, uint32 of shape (n,), and where each number stands first.
    """
    number = np.empty(len(pairs), np.uint32)
    first, seen = np.empty(_FEW, np.int64), np.empty((_FEW, 2), np.uint64)
    done, found = 0, 0
    while True:
        places = np.full(4 * len(first), -1, np.int32)
        done, found = _number(pairs, number, done, (first, seen, found), places)
        if done == len(pairs):
            return number, first[:found]
        first, seen = np.resize(first, 8 * len(first)), np.resize(seen, (8 * len(seen), 2))


@njit(cache=True, nogil=True)
def _number(
    pairs: Array, number: Array, begin: int, known: tuple[Array, Array, int], places: Array
) -> tuple[int, int]:
    """Number pairs from `begin` on until one is new and there is no room; where and how many."""
    first, seen, found = known
    for j in range(found):
        places[_place_of(seen[j, 0], seen[j, 1], seen, places)] = j
    n, i = pairs.shape[0], begin
    while i < n:
        a, b = pairs[i, 0], pairs[i, 1]
        place = _place_of(a, b, seen, places)
        if places[place] < 0:
            if found == first.shape[0]:
                return i, found
            places[place], first[found] = found, i
            seen[found, 0], seen[found, 1] = a, b
            found += 1
        mine = places[place]
        while i < n and pairs[i, 0] == a and pairs[i, 1] == b:  # most columns have long runs
            number[i] = mine
            i += 1
    return n, found


@njit(cache=True)
def _place_of(a: Any, b: Any, seen: Array, places: Array) -> Any:
    """Where a pair's number stands in an open-addressed table, or is to stand."""
    half, mask = np.uint64(32), places.shape[0] - 1
    mixed = (a ^ (b * _ODD)) * _ODD
    mixed = (mixed ^ (mixed >> half)) * _ODD
    place = np.int64(mixed >> half) & mask
    while places[place] >= 0 and (seen[places[place], 0] != a or seen[places[place], 1] != b):
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def add_taken(values: Array, number: Array, out: Array) -> None:
    """Add to each place of `out` the value of its number."""
    for i in range(number.shape[0]):
        out[i] += values[number[i]]


@njit(cache=True, nogil=True)
def count(number: Array, start: Array) -> None:
    """Add the events of key k to `start[k + 2]`."""
    for i in range(number.shape[0]):
        start[number[i] + 2] += 1


@njit(cache=True, nogil=True)
def place(columns: Any, row: int, events: Array, start: Array) -> None:
    """Each event at the next place of its key; in the end `start` has the begin of every key."""
    number, occurred, received, value, code, offset_min = columns
    for i in range(number.shape[0]):
        next_one = start[number[i] + 1]
        start[number[i] + 1] = next_one + 1
        event = events[next_one]
        event["known_at"] = max(occurred[i], received[i])
        event["occurred_at"] = occurred[i]
        event["value"] = value[i]
        event["row"] = row + i
        event["code"] = code[i]
        event["utc_offset_min"] = offset_min[i]


@njit(cache=True, nogil=True)
def put_in_order(events: Array, start: Array) -> None:
    """Sort the events of each key by when they were known; most keys are so already."""
    known = events["known_at"]
    for k in range(start.shape[0] - 2):
        for i in range(start[k] + 1, start[k + 1]):
            if known[i] < known[i - 1]:
                run = events[start[k] : start[k + 1]]
                run[:] = run[np.argsort(run["known_at"], kind="mergesort")]
                break
