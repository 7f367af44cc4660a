"""The methods a careful analyst would try first; every model has to stand beside them."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.specs.churn import SPEC
from training.calibration import fit_bent
from training.opt_outs import Curve

# Recency and, of the whole past, frequency, tenure and spending.
RFM: Final = ("active_total", "days_since_active", "days_since_first_active", "spent_total")

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
_EDGE = 0.002


def base_rate(y: Floats, n: int) -> Floats:
    """The same probability for everyone."""
    return inside(np.full(n, y.mean()))


def recency_curve(days: Floats, y: Floats, asked: Floats) -> Floats:
    """A rising curve of silence over days since the last engagement (isotonic)."""
    curve = IsotonicRegression(out_of_bounds="clip").fit(days, y)
    return inside(curve.predict(asked))


def logistic(rows: Floats, y: Floats, asked: Floats) -> Floats:
    """Logistic regression on scaled columns; a missing value is zero after scaling."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=500))
    middle = np.nan_to_num(np.nanmedian(rows, axis=0))
    model.fit(np.where(np.isnan(rows), middle, rows), y)
    chances = model.predict_proba(np.where(np.isnan(asked), middle, asked))[:, 1]
    return inside(chances)


def rfm_curve(rows: Rows, y: Floats) -> Curve:
    """Logistic regression on the logs of recency, frequency, spending and tenure.

    Args:
        rows: Of the churn model, shape (n, n_inputs).
    """
    columns = np.array([SPEC.inputs.index(name) for name in RFM], np.int64)
    asked = rows[:, columns].astype(np.float64)
    has_any = ~np.isnan(asked).all(axis=0)
    typical = np.zeros(len(RFM))
    typical[has_any] = np.nanmedian(asked[:, has_any], axis=0)
    flat = Curve(columns, typical, np.zeros(len(RFM)), 0.0)
    scaler = StandardScaler()
    model = LogisticRegression(C=1.0, max_iter=500).fit(scaler.fit_transform(flat.logs(rows)), y)
    weights = model.coef_[0] / scaler.scale_
    return replace(
        flat, weights=weights, intercept=float(model.intercept_[0] - scaler.mean_ @ weights)
    )


def recalibrated(p: Floats, y: Floats, is_recent: NDArray[np.bool_]) -> Floats:
    """The others' chances, calibrated as the model's are; as they are where nothing is recent."""
    if not is_recent.any():
        return p
    raw = logit(p)
    return inside(fit_bent(raw[is_recent], y[is_recent]).apply(raw[~is_recent]))


def inside(p: Floats) -> Floats:
    """Kept off 0 and 1, where one wrong answer costs everything."""
    return np.asarray(np.clip(p, _EDGE, 1 - _EDGE), dtype=np.float64)
