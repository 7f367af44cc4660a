"""How a champion's chances of its newest mature rows did: calibration, and the back-test.

The intercept is asked first, because base rates move more than shapes do. A shift that is
surely none of chance and larger than 0.15 in log odds asks for the intercept to be fitted anew,
a slope surely outside [0.80, 1.25] for a retrain.

Source: calibration in the large and slope (Cox 1958), errors as in `clusters`.
Failure mode: one snapshot of churn holds one season; its shift may go as it came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from models.report import Measured
from training import clusters, metrics
from training.monitoring.findings import Judgement, Signal, Trigger, judged, unjudged
from training.monitoring.labelled import Answered

MAX_SHIFT: Final = 0.15  # log odds
SLOPES: Final = (0.80, 1.25)
SURE: Final = float(2 * norm.sf(3.0))  # three standard deviations, as a chance
FEWEST: Final = 30  # rows of the rarer class
SMOOTHING: Final = 0.2  # of the moving mean of observed over expected
NAME, SLOPE, BACKTEST = "calibration", "calibration slope", "back-test"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Backtest:
    """A champion's chances beside what happened, and beside the rate of those very rows.

    Args:
        gain: Log loss saved over that rate, with its interval over recipients.
    """

    rows: int
    observed: float
    expected: float
    log_loss: float
    base_log_loss: float
    gain: Measured

    @property
    def ratio(self) -> float:
        """Observed over expected."""
        return self.observed / self.expected if self.expected > 0 else float("nan")

    @property
    def meaning(self) -> str:
        """For a report."""
        return (
            f"observed {self.observed:.2%}, expected {self.expected:.2%} "
            f"(ratio {self.ratio:.2f}); log loss {self.log_loss:.4f}, of the base rate "
            f"{self.base_log_loss:.4f}; {self.rows:,} rows"
        )


def is_enough(found: Answered | None) -> bool:
    """Whether rows can tell of calibration."""
    if found is None:
        return False
    positives = float(found.y.sum())
    return min(positives, len(found.y) - positives) >= FEWEST


def backtest(found: Answered) -> Backtest:
    """How the chances did; the base rate is known with hindsight, which makes it hard to beat."""
    base = np.full(len(found.y), found.y.mean())
    own, other = (metrics.log_losses(found.y, p) for p in (found.p, base))
    (gain,) = metrics.mean_by_group((other - own)[:, None], found.people)
    return Backtest(
        len(found.y),
        float(found.y.mean()),
        float(found.p.mean()),
        float(own.mean()),
        float(other.mean()),
        gain,
    )


def calibration_signals(model: str, found: Answered) -> list[Signal]:
    """Shift, slope and back-test of one model's newest mature rows."""
    shift, slope = _wider(found)
    is_off = abs(shift.value) > MAX_SHIFT and _surely(shift, 0.0)
    is_bent = _surely_outside(slope)
    past = backtest(found)
    is_useless = past.gain.high < 0
    return [
        Signal(
            NAME, model, shift.value, f"> {MAX_SHIFT} log odds, and > 3 standard errors",
            judged(is_off),
            f"predicted {past.expected:.2%}, observed {past.observed:.2%}: shift {shift} log odds",
            "`opportune retrain` fits the intercept on the newest labels" if is_off else "",
            Trigger.QUALITY,
        ),
        Signal(
            SLOPE, model, slope.value, f"surely outside {SLOPES[0]:.2f} to {SLOPES[1]:.2f}",
            judged(is_bent), f"slope {slope}",
            "`opportune retrain`: the order of the chances has lost its meaning" if is_bent else "",
            Trigger.QUALITY,
        ),
        Signal(
            BACKTEST, model, past.gain.value, "surely worse than the rows' own base rate",
            Judgement.NOTICE if is_useless else Judgement.FINE, past.meaning,
            "the champion says less than a constant would; retrain" if is_useless else "",
            Trigger.QUALITY,
        ),
    ]  # fmt: skip


def calibration_unknown(model: str, why: str) -> list[Signal]:
    """Nothing to say of it, and why."""
    return [unjudged(NAME, model, why)]


def smoothed(ratios: Sequence[float]) -> list[float]:
    """The exponentially weighted mean of observed over expected, oldest first; NaN is passed."""
    level, found = float("nan"), []
    for ratio in ratios:
        if np.isfinite(ratio):
            level = ratio if np.isnan(level) else SMOOTHING * ratio + (1 - SMOOTHING) * level
        found.append(level)
    return found


@dataclass(frozen=True, slots=True)
class _Told:
    """A number with a standard error from few groups."""

    value: float
    error: float
    df: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} ± {self.error:.3f}"


def _wider(found: Answered) -> list[_Told]:
    """Shift and slope, each with the larger error of those over recipients and over days."""
    told = []
    for groups in (found.people, found.days):
        n = len(set(groups))
        if n < 3:  # one snapshot: there are no days to tell apart
            continue
        seen = clusters.calibration(found.y, found.p, groups)
        told.append([_told(measured, n - 1) for measured in (seen.shift, seen.slope)])
    return [
        max(pair, key=lambda one: one.error * _needed(one.df)) for pair in zip(*told, strict=True)
    ]


def _told(measured: Measured, df: int) -> _Told:
    half = (measured.high - measured.low) / 2
    return _Told(measured.value, half / float(student.ppf(0.975, df)), df)


def _needed(df: int) -> float:
    return float(student.ppf(1 - SURE / 2, df))


def _surely(told: _Told, other_than: float) -> bool:
    return abs(told.value - other_than) > _needed(told.df) * told.error


def _surely_outside(slope: _Told) -> bool:
    low, high = SLOPES
    nearest = min(max(slope.value, low), high)
    return nearest != slope.value and _surely(slope, nearest)
