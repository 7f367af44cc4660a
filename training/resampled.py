"""The measures of probabilities over resampled rows: sorted once, then counted for every draw."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.metrics import Floats, log_losses

MEASURES: Final = ("AUC", "log loss", "Brier", "ECE")
BINS: Final = 10
DRAWS: Final = 300


class Sorted:
    """Outcomes and probabilities of one method, shape (n,), in the order of the probabilities."""

    def __init__(self, y: Floats, p: Floats) -> None:
        self._order = np.argsort(p, kind="stable")
        self._y, self._p = y[self._order], p[self._order]
        self._ties = np.flatnonzero(np.r_[True, np.diff(self._p) > 0])
        self._losses, self._squares = log_losses(y, p), (y - p) ** 2

    def measures(self, counts: NDArray[np.int64]) -> list[float]:
        """`MEASURES` where each row stands so many times, as `metrics` has them of such rows."""
        n = counts.sum()
        weights = counts[self._order]
        return [
            self._auc(weights),
            float(counts @ self._losses / n),
            float(counts @ self._squares / n),
            self._ece(weights),
        ]

    def _auc(self, weights: NDArray[np.int64]) -> float:
        ones = np.add.reduceat(weights * self._y, self._ties)
        zeros = np.add.reduceat(weights * (1 - self._y), self._ties)
        pairs = ones.sum() * zeros.sum()
        below = np.cumsum(zeros) - zeros / 2
        return float((ones @ below) / pairs) if pairs else float("nan")

    def _ece(self, weights: NDArray[np.int64]) -> float:
        rows = np.repeat(np.arange(len(weights)), weights)
        sizes = [len(part) for part in np.array_split(np.empty(len(rows), np.bool_), BINS)]
        starts = np.cumsum([0, *(size for size in sizes if size)])[:-1]
        gaps = np.add.reduceat(self._y[rows] - self._p[rows], starts)
        return float(np.abs(gaps).sum() / len(rows))


def draws_of(groups: Sequence[str], *, seed: int = 7) -> Iterator[NDArray[np.int64]]:
    """How often each row stands in each draw of whole groups, the rows themselves first."""
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    n = int(inverse.max()) + 1
    rng = np.random.default_rng(seed)
    yield np.ones(len(inverse), np.int64)
    for _ in range(DRAWS):
        yield np.bincount(rng.integers(0, n, n), minlength=n)[inverse]
