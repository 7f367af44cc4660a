"""The methods a careful analyst would try first; every model has to stand beside them."""

from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.specs.churn import SPEC
from training.calibration import fit_bent
from training.curve import Curve, fit_curve

# Recency and, of the whole past, frequency, tenure and spending.
RFM: Final = ("active_total", "days_since_active", "days_since_first_active", "spent_total")

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
_EDGE = 0.002


def base_rate(y: Floats, n: int, *, kept: float = 1.0) -> Floats:
    """The same probability for everyone; `kept` as of `Labelled`."""
    return inside(np.full(n, rate_of(y, kept)))


def rate_of(y: Floats, kept: float) -> float:
    """The share of ones before only a share `kept` of the zeros was."""
    ones = kept * y.mean()
    return float(ones / (ones + 1.0 - y.mean()))


def recency_curve(days: Floats, y: Floats, asked: Floats) -> Floats:
    """A rising curve of silence over days since the last engagement (isotonic)."""
    curve = IsotonicRegression(out_of_bounds="clip").fit(days, y)
    return inside(curve.predict(asked))


def logistic(rows: Floats, y: Floats, asked: Floats, *, kept: float = 1.0) -> Floats:
    """Logistic regression on scaled columns; a missing value is as the middle one.

    Args:
        kept: Share of the zeros that `rows` hold, as of `Labelled`.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=500))
    middle = np.nan_to_num(np.nanmedian(rows, axis=0))
    model.fit(np.where(np.isnan(rows), middle, rows), y)
    odds = model.decision_function(np.where(np.isnan(asked), middle, asked))
    return inside(expit(odds + log(kept)))


def rfm_curve(rows: Rows, y: Floats) -> Curve:
    """Logistic regression on the logs of recency, frequency, spending and tenure.

    Args:
        rows: Of the churn model, shape (n, n_inputs).
    """
    return fit_curve([SPEC.inputs.index(name) for name in RFM], rows, y)


def recalibrated(p: Floats, y: Floats, is_recent: NDArray[np.bool_]) -> Floats:
    """The others' chances, calibrated as the model's are; as they are where nothing is recent."""
    if not is_recent.any():
        return p
    raw = logit(p)
    return inside(fit_bent(raw[is_recent], y[is_recent]).apply(raw[~is_recent]))


def inside(p: Floats) -> Floats:
    """Kept off 0 and 1, where one wrong answer costs everything."""
    return np.asarray(np.clip(p, _EDGE, 1 - _EDGE), dtype=np.float64)
