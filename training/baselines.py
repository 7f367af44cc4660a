"""The methods a careful analyst would try first; every model has to stand beside them."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.bgnbd import fit_bgnbd
from training.calibration import fit_platt

Floats = NDArray[np.float64]
_EDGE = 0.002


def base_rate(y: Floats, n: int) -> Floats:
    """The same probability for everyone."""
    return _inside(np.full(n, y.mean()))


def recency_curve(days: Floats, y: Floats, asked: Floats) -> Floats:
    """A rising curve of silence over days since the last engagement (isotonic)."""
    curve = IsotonicRegression(out_of_bounds="clip").fit(days, y)
    return _inside(curve.predict(asked))


def logistic(rows: Floats, y: Floats, asked: Floats) -> Floats:
    """Logistic regression on scaled columns; a missing value is zero after scaling."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=500))
    middle = np.nan_to_num(np.nanmedian(rows, axis=0))
    model.fit(np.where(np.isnan(rows), middle, rows), y)
    chances = model.predict_proba(np.where(np.isnan(asked), middle, asked))[:, 1]
    return _inside(chances)


def bgnbd_silence(count: Floats, tenure: Floats, recency: Floats, horizon: float) -> Floats:
    """BG/NBD's chance of silence; needs no labels, so it is fitted on the asked people.

    Args:
        count: Active hours so far.
        tenure: Days since the first.
        recency: Days since the newest.
    """
    repeats = np.maximum(np.round(count) - 1.0, 0.0)
    newest, age = np.maximum(tenure - recency, 0.0) / 7.0, tenure / 7.0
    sample = np.random.default_rng(0).permutation(len(count))[:8_000]
    fitted = fit_bgnbd(repeats[sample], newest[sample], age[sample])
    return _inside(fitted.p_silent(horizon / 7.0, repeats, newest, age))


def recalibrated(p: Floats, y: Floats, is_recent: NDArray[np.bool_]) -> Floats:
    """The others' chances, calibrated as the model's are; as they are where nothing is recent."""
    if not is_recent.any():
        return p
    raw = logit(p)
    return _inside(fit_platt(raw[is_recent], y[is_recent]).apply(raw[~is_recent]))


def _inside(p: Floats) -> Floats:
    return np.asarray(np.clip(p, _EDGE, 1 - _EDGE), dtype=np.float64)
