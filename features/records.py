"""Events as records, put together by key: what the compiled scan reads."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.grouping import count, place, put_in_order

COLUMNS: Final = ("number", "occurred_at", "received_at", "value", "code", "utc_offset_min")

# One event of a key; 32 bytes, so that one takes half a line of the cache.
EVENT: Final = np.dtype(
    [
        ("known_at", np.int64),
        ("occurred_at", np.int64),
        ("value", np.float64),
        ("row", np.uint32),  # of the log
        ("code", np.uint16),
        ("utc_offset_min", np.int16),
    ]
)

Array = NDArray[Any]


def placed(parts: Sequence[Sequence[Array]], n_keys: int) -> tuple[Array, Array]:
    """Events of a log put together by key, in the order they were known, and where keys begin.

    One pass to count and one to place; only a key whose events came late is sorted.

    Args:
        parts: In log order; of each the columns `COLUMNS`, shape (n,), the number of an event's
            key being from 0 to n_keys - 1.

    Returns:
        `EVENT` records, shape (n_events,), and the begin of each key, shape (n_keys + 2,): the
        key `n_keys` has no events.
    """
    start = np.zeros(n_keys + 2, np.int64)
    columns = [fixed(part) for part in parts]
    for part in columns:
        count(part[0], start)
    np.cumsum(start, out=start)
    events, row = np.empty(start[-1], EVENT), 0
    for part in columns:
        place(part, row, events, start)
        row += len(part[0])
    put_in_order(events, start)
    return events, start


def fixed(arrays: Iterable[Array]) -> tuple[Array, ...]:
    """The arrays as read-only ones: compiled code is made anew for every mix of the two."""
    views = tuple(np.ascontiguousarray(array).view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views
