"""How far a challenger is from the champion, as running figures of bounded size."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.asks import Prediction
from serving.fallback import FallbackReason
from serving.policy import band

ROWS: Final = 2_000  # the newest pairs, for what cannot be summed up
Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one challenger; all zero before the first row.

    Args:
        n: Recipients compared, of those whose part was both models' own word.
        mean, most: Of the absolute difference of the numbers compared.
        low, middle, high: The 5th, 50th and 95th percentile of challenger less champion.
        rank_correlation: Spearman's, between both; zero where one of them is constant.
        otherwise: Share of recipients for whom best hour, churn band or first item would differ.
        latency_ratio: Time that scoring takes with the challenger to that with the champion.

    The percentiles and the correlation are of the newest `ROWS` recipients.
    """

    n: int = 0
    mean: float = 0.0
    most: float = 0.0
    low: float = 0.0
    middle: float = 0.0
    high: float = 0.0
    rank_correlation: float = 0.0
    otherwise: float = 0.0
    latency_ratio: float = 0.0


@dataclass
class Divergence:
    """The running figures of one model.

    Failure mode: the figures are of the calls that came, not of all recipients; a sender's test
    mailing counts like any other.
    """

    n: int = 0
    _sum: float = 0.0
    _most: float = 0.0
    _otherwise: int = 0
    _seconds: Column = field(default_factory=lambda: np.zeros(2))
    _pairs: Column = field(default_factory=lambda: np.zeros((ROWS, 2)))

    def add(self, champion: Column, challenger: Column, *, otherwise: int) -> None:
        """Take in recipients: their numbers, shape (n,), and of how many the decision differs."""
        apart = np.abs(challenger - champion)
        self._sum += float(apart.sum())
        self._most = max(self._most, float(apart.max(initial=0.0)))
        places = (self.n + np.arange(len(apart))) % ROWS
        self._pairs[places] = np.stack([champion, challenger], axis=1)
        self.n += len(apart)
        self._otherwise += otherwise

    def took(self, champion_s: float, challenger_s: float) -> None:
        """Add the time that both took for the same recipients."""
        self._seconds += (champion_s, challenger_s)

    def told(self) -> Told:
        """The figures of this moment."""
        if not self.n:
            return Told()
        pairs = self._pairs[: min(self.n, ROWS)].copy()
        low, middle, high = np.quantile(pairs[:, 1] - pairs[:, 0], (0.05, 0.5, 0.95)).tolist()
        first_s, second_s = self._seconds.tolist()
        return Told(
            n=self.n,
            mean=self._sum / self.n,
            most=self._most,
            low=low,
            middle=middle,
            high=high,
            rank_correlation=rank_correlation(pairs[:, 0], pairs[:, 1]),
            otherwise=self._otherwise / self.n,
            latency_ratio=second_s / first_s if first_s else 0.0,
        )


def rank_correlation(a: Column, b: Column) -> float:
    """Spearman's, ties at their middle rank; zero where one side is constant.

    >>> rank_correlation(np.array([0.1, 0.2, 0.9]), np.array([1.0, 5.0, 6.0]))
    1.0
    """
    ranks = np.stack([_ranks(a), _ranks(b)])
    if (ranks.std(axis=1) == 0.0).any():
        return 0.0
    together = np.asarray(np.corrcoef(ranks))
    return round(float(together[0, 1]), 12)


def _ranks(column: Column) -> Column:
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], np.float64)


def number_of(model: str, prediction: Prediction) -> float | None:
    """What of a prediction is compared; None where it is not the model's own word."""
    if prediction.reasons[model] is not FallbackReason.NONE:
        return None
    if model == "churn":
        return prediction.p_churn
    chances = prediction.p_engage if model == "send_time" else prediction.p_items
    return float(chances.max()) if len(chances) else None


def decision_of(model: str, prediction: Prediction) -> int | str:
    """What would be done on this prediction alone: best hour of the week, band, first item."""
    if model == "churn":
        return band(prediction.p_churn, "")
    return int((prediction.p_engage if model == "send_time" else prediction.p_items).argmax())
