"""Windows of equal length that end at a moment, the newest last."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from features.events.schema import DAY_US


@dataclass(frozen=True, slots=True)
class Windows:
    """`n` windows of `days` before `as_of` (microseconds)."""

    as_of: int
    days: float = 7.0
    n: int = 13

    @property
    def length_us(self) -> int:
        """Of one window."""
        return round(self.days * DAY_US)

    @property
    def begin(self) -> int:
        """Of the oldest one."""
        return self.as_of - self.n * self.length_us

    @property
    def newest(self) -> int:
        """When the newest one begins."""
        return self.as_of - self.length_us

    @property
    def begins(self) -> list[int]:
        """Of every one, oldest first."""
        return [self.begin + i * self.length_us for i in range(self.n)]

    def number_of(self, at: str = "occurred_at") -> pl.Expr:
        """The window of each row, 0 the oldest; null outside all of them."""
        number = (pl.col(at) - self.begin) // self.length_us
        inside = pl.col(at).is_between(self.begin, self.as_of, closed="left")
        return pl.when(inside).then(number).cast(pl.Int64).alias("window")

    def series(self, rows: pl.DataFrame, column: str) -> list[float]:
        """One number a window from rows with `window` and the column; NaN where there is none."""
        found = np.full(self.n, np.nan)
        found[rows["window"].to_numpy()] = rows[column].cast(pl.Float64).to_numpy()
        return [float(value) for value in found]
