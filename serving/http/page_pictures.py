"""Where the parts of a picture go: plain numbers that the templates draw as SVG. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.explanation import DAYS

LEVELS: Final = 6  # of colour, beside the one of nothing
CELL: Final = 24
GAP: Final = 2
LEFT: Final = 38  # for the names of the days
TOP: Final = 18  # for the hours
SPARK_W: Final = 180
SPARK_H: Final = 40
_PAD: Final = 4
BAR_W: Final = 200
Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour of the week."""

    x: int
    y: int
    level: int
    title: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A week by hours.

    Args:
        low, high: What the ends of the colour scale stand for.
        days, hours: Labels with their places.
    """

    title: str
    unit: str
    low: float
    high: float
    cells: list[Cell]
    days: list[tuple[str, int]]
    hours: list[tuple[str, int]]
    width: int = LEFT + 24 * CELL
    height: int = TOP + 7 * CELL


@dataclass(frozen=True, slots=True)
class Spark:
    """A small line or row of bars, oldest first.

    Args:
        points: Of the line; empty for bars.
        bars: Place, width and height of each.
    """

    points: str
    last: tuple[float, float]
    bars: list[tuple[float, float, float, float]]
    low: float
    high: float
    now: float
    width: int = SPARK_W
    height: int = SPARK_H


def heat_map(
    week: Floats, *, title: str, unit: str, marks: Mapping[str, int], has_floor: bool = True
) -> HeatMap:
    """Values by hour of the week as coloured cells.

    Args:
        week: Shape (168,), Monday 00 first.
        marks: Hours of the week to be marked, by name.
        has_floor: Whether nothing is zero; else the smallest value is.
    """
    high = float(np.max(week))
    low = 0.0 if has_floor else float(np.min(week))
    levels = _levels(week, low, high)
    cells = []
    for slot, (value, level) in enumerate(zip(week.tolist(), levels, strict=True)):
        day, hour = divmod(slot, 24)
        named = tuple(name for name, at in marks.items() if at == slot)
        said = f"{DAYS[day]} {hour:02}:00, {value:.3g} {unit}"
        cells.append(
            Cell(LEFT + hour * CELL, TOP + day * CELL, level, ", ".join([said, *named]), named)
        )
    days = [(name[:3], TOP + day * CELL + CELL // 2) for day, name in enumerate(DAYS)]
    hours = [(f"{hour:02}", LEFT + hour * CELL + CELL // 2) for hour in range(0, 24, 3)]
    return HeatMap(title, unit, low, high, cells, days, hours)


def line(values: Floats) -> Spark:
    """Values as a line; missing ones are left out."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return Spark("", (0.0, 0.0), [], 0.0, 0.0, float("nan"))
    low, high = min(float(values[known].min()), 0.0), float(values[known].max())
    x = _PAD + known / max(len(values) - 1, 1) * (SPARK_W - 2 * _PAD)
    y = SPARK_H - _PAD - (values[known] - low) / ((high - low) or 1.0) * (SPARK_H - 2 * _PAD)
    places = [(round(a, 1), round(b, 1)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    points = " ".join(f"{a},{b}" for a, b in places)
    return Spark(points, places[-1], [], low, high, float(values[-1]))


def bars(counts: Floats) -> Spark:
    """Counts as bars."""
    high = float(counts.max())
    step = (SPARK_W - 2 * _PAD) / len(counts)
    drawn = []
    for place, count in enumerate(counts.tolist()):
        tall = count / (high or 1.0) * (SPARK_H - 2 * _PAD)
        left = round(_PAD + place * step + 0.5, 1)
        drawn.append((left, round(SPARK_H - _PAD - tall, 1), round(step - 1, 1), round(tall, 1)))
    return Spark("", (0.0, 0.0), drawn, 0.0, high, float(counts[-1]))


def effect_bars(effects: Sequence[float]) -> list[tuple[float, float]]:
    """Left end and width of each bar, to the right of the middle for what adds."""
    most = max((abs(effect) for effect in effects), default=1.0)
    half = BAR_W / 2
    wide = [abs(effect) / most * (half - 2) for effect in effects]
    return [
        (round(half if effect > 0 else half - w, 1), round(w, 1))
        for effect, w in zip(effects, wide, strict=True)
    ]


def _levels(week: Floats, low: float, high: float) -> list[int]:
    """0 for what is nothing, then evenly up to `LEVELS`."""
    if high <= low:
        return [0] * len(week)
    shares = (week.astype(np.float64) - low) / (high - low)
    return [int(level) for level in np.minimum(np.ceil(shares * LEVELS), LEVELS)]
