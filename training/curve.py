"""A logistic curve of the logs of some inputs: for few labels, and for trees to start from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

# Of a curve that trees start from: a hundredth of the usual strength of the labels, for its inputs
# say much the same things and what it misses the trees find.
START: Final = 0.01
LARGEST: Final = 1e30  # a larger input counts as this: what is infinite has no log


@dataclass(frozen=True, slots=True)
class Curve:
    """p = sigmoid(intercept + weights . log(1 + max(x, 0))).

    A missing input counts as typical, one above `LARGEST` as that.
    """

    columns: NDArray[np.int64]
    typical: Floats
    weights: Floats
    intercept: float

    def predict(self, rows: Rows) -> Floats:
        """Chances, shape (n,), for rows of the model's inputs."""
        return np.asarray(expit(self.odds(rows)))

    def odds(self, rows: Rows) -> Floats:
        """Log odds, shape (n,)."""
        return np.asarray(self.intercept + self.logs(rows) @ self.weights)

    def logs(self, rows: Rows) -> Floats:
        """What the weights are for, shape (n, m)."""
        asked = rows[:, self.columns].astype(np.float64)
        known = np.where(np.isnan(asked), self.typical, asked)
        return np.asarray(np.log1p(np.clip(known, 0.0, LARGEST)))


def flat(columns: Sequence[int] | NDArray[np.int64], rows: Rows) -> Curve:
    """A curve that says one half of everybody; what is typical comes from the rows."""
    places = np.asarray(columns, np.int64)
    asked = rows[:, places].astype(np.float64)
    has_any = ~np.isnan(asked).all(axis=0)
    typical = np.zeros(len(places))
    typical[has_any] = np.nanmedian(asked[:, has_any], axis=0)
    return Curve(places, typical, np.zeros(len(places)), 0.0)


def fit_curve(
    columns: Sequence[int] | NDArray[np.int64], rows: Rows, y: Floats, *, strength: float = 1.0
) -> Curve:
    """Logistic regression on scaled logs.

    Args:
        columns: Places of its inputs among those of the model.
        rows: Of the model, shape (n, n_inputs).
        strength: Of the labels against a ridge (`C` of scikit-learn).
    """
    bare, scaler = flat(columns, rows), StandardScaler()
    model = LogisticRegression(C=strength, max_iter=500)
    model.fit(scaler.fit_transform(bare.logs(rows)), y)
    weights = model.coef_[0] / scaler.scale_
    return replace(
        bare, weights=weights, intercept=float(model.intercept_[0] - scaler.mean_ @ weights)
    )
