"""Splits: by time with an embargo, and by recipient for early stopping and calibration."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US


def snapshots(*, first: int, last: int, step_days: float, at_most: int) -> list[int]:
    """Moments from `last` back to `first`, `step_days` apart, newest first (microseconds)."""
    step = round(step_days * DAY_US)
    return [last - i * step for i in range(at_most) if last - i * step >= first]


def held_out(keys: Sequence[str], *, share: float, salt: str) -> NDArray[np.bool_]:
    """A fixed share of recipients, the same ones whatever the order; shape (n,)."""
    return np.array([_unit(key, salt) < share for key in keys], dtype=bool)


def dealt(keys: Sequence[str], *, into: int, salt: str) -> list[NDArray[np.bool_]]:
    """Every recipient in one of so many parts, whatever the order; each of shape (n,)."""
    units = units_of(keys, salt=salt)
    return [(units * into).astype(int) == part for part in range(into)]


def units_of(keys: Sequence[str], *, salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) for every recipient, the same whatever the order; shape (n,)."""
    return np.array([_unit(key, salt) for key in keys], dtype=np.float64)


def _unit(key: str, salt: str) -> float:
    digest = hashlib.blake2b(f"{salt}\x1f{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
