"""Local clocks of a simulated world: offsets and hours of the week for whole arrays at once."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import HOUR_US, SECOND_US

WEEK_HOURS: Final = 168
WEEK_US: Final = WEEK_HOURS * HOUR_US
_MINUTE_US: Final = 60 * SECOND_US
_EPOCH_SLOT: Final = 72  # 1970-01-01 was a Thursday, slot 0 is Monday 00:00

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class WorldClock:
    """Zones by number, and what their clocks show in every hour of a span.

    Args:
        first_hour: Hours since 1970 in UTC of the first column below.
        offsets_min: Shape (n_zones, n_hours), minutes ahead of UTC, daylight saving included.
        slots: Shape (n_zones, n_hours), hour of the week on the local clock, Monday 00 is 0.
    """

    zones: tuple[str, ...]
    first_hour: int
    offsets_min: Array
    slots: Array

    @classmethod
    def spanning(cls, zones: tuple[str, ...], *, begin: int, end: int) -> Self:
        """The clock from `begin` to `end` (microseconds); outside it nothing can be asked."""
        first, last = begin // HOUR_US, -(-end // HOUR_US)
        hours = np.arange(first, last + 1)
        moments = pl.Series(hours * HOUR_US).cast(pl.Datetime("us", "UTC"))
        rows = []
        for zone in zones:
            local = moments.dt.convert_time_zone(zone)
            ahead = local.dt.base_utc_offset() + local.dt.dst_offset()
            rows.append(ahead.dt.total_minutes().to_numpy())
        offsets = np.stack(rows)
        slots = (hours + offsets // 60 + _EPOCH_SLOT) % WEEK_HOURS
        return cls(zones, first, offsets.astype(np.int16), slots.astype(np.int16))

    def offsets_at(self, zone: Array, at: Array) -> Array:
        """Minutes ahead of UTC of each zone number at each moment."""
        return np.asarray(self.offsets_min[zone, at // HOUR_US - self.first_hour])

    def slots_from(self, zone: Array, at: Array, n_hours: int) -> Array:
        """Local hours of the week of the hour of `at` and those after it, (n, n_hours)."""
        begin = at // HOUR_US - self.first_hour
        return self.slots[zone[:, None], begin[:, None] + np.arange(n_hours)]

    def utc_of(self, zone: int, local: Array) -> Array:
        """The moment when the clock of one zone shows `local` (microseconds of that clock)."""
        begin, step = self.first_hour * HOUR_US, np.full(np.shape(local), zone)
        guess = np.maximum(local - int(self.offsets_min[zone, 0]) * _MINUTE_US, begin)
        return np.asarray(local - self.offsets_at(step, guess).astype(np.int64) * _MINUTE_US)
