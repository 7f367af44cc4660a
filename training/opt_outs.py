"""Why people leave, mail by mail: the chance that the next one is answered by an opt-out.

Unsubscribing and complaining compete: whoever does one does not do the other any more. Both are
rare (one mail in hundreds, in thousands), so each is a logistic curve of a few inputs whose rate
is drawn to that of the trade; complaints share the curve of unsubscribes until there are enough
of them. Fitted on all opt-outs and some of the other mails, the odds put right for that.

Source of the rates: Mailchimp 2019 and Omeda 2023 (unsubscribes 0.1 to 0.25 %, complaints 0.002
to 0.03 % of mails).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from features.events.schema import DAY_US, EventType
from models.specs.churn import COMPLAINT, RISKS, SPEC, UNSUBSCRIBE
from training import labels
from training.curve import Curve, flat
from training.metrics import auc
from training.recipe import Order

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

INPUTS: Final = (
    "delivered_hl7d",
    "delivered_hl30d",
    "active_hl30d",
    "active_hl120d",
    "days_since_active",
    "opened_per_delivered_hl90d",
    "clicked_per_delivered_hl90d",
)
CAUSES: Final = {
    UNSUBSCRIBE: EventType.UNSUBSCRIBED.value,
    COMPLAINT: EventType.COMPLAINED.value,
}
RATE_MAILS: Final = 2_000  # the trade's rate weighs as much as that many mails
WINDOW_US: Final = 7 * DAY_US
MIN_CASES: Final = 50  # below them everybody has the same chance
MIN_OWN_CASES: Final = 200  # below them complaints share the curve of unsubscribes
MAX_OTHERS: Final = 20_000
_RIDGE: Final = 0.1


@dataclass(frozen=True, slots=True)
class OptOuts:
    """A curve by output name, and what a reviewer reads of them."""

    curves: Mapping[str, Curve]
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Mails:
    """Inputs, causes and, of mails without an opt-out, how many each row stands for."""

    rows: Rows
    cause: NDArray[Any]
    weight: Floats
    is_test: NDArray[np.bool_]


def fit_opt_outs(order: Order) -> OptOuts:
    """Fit both causes on the older four fifths of the mails, and measure on the newest."""
    mails = labels.mails_opted_out(order.data.events, window_us=WINDOW_US)
    mature = mails.filter(pl.col("at") < order.as_of - WINDOW_US)
    if mature.is_empty():
        return OptOuts(usual(), {})
    sample = _sampled(order, mature)
    fit = replace(
        sample,
        rows=sample.rows[~sample.is_test],
        cause=sample.cause[~sample.is_test],
        weight=sample.weight[~sample.is_test],
    )
    common = _curve(fit, np.isin(fit.cause, list(CAUSES.values())))
    curves, facts = {}, {}
    for name, cause in CAUSES.items():
        is_case = fit.cause == cause
        own = _curve(fit, is_case) if is_case.sum() >= MIN_OWN_CASES else common
        curves[name] = _at_rate(own, fit, _rate(fit, is_case, RISKS[name]))
        facts[f"{cause} after a mail"] = _measured(curves[name], sample, cause)
    return OptOuts(curves, facts)


def usual() -> dict[str, Curve]:
    """The trade's rates for everybody."""
    return {name: _flat(rate) for name, rate in RISKS.items()}


def _sampled(order: Order, mails: pl.DataFrame) -> _Mails:
    """All opt-outs and some of the other mails, with their inputs at the delivery."""
    edge = mails["at"].quantile(0.8, "nearest")
    is_case = pl.col("cause") != ""
    others = mails.filter(~is_case)
    some = others.sample(min(MAX_OTHERS, len(others)), seed=order.seed)
    spine = pl.concat([mails.filter(is_case), some]).sort("at", "recipient_key")
    cause = spine["cause"].to_numpy()
    weight = np.where(cause == "", len(others) / max(len(some), 1), 1.0)
    rows = np.full((len(spine), len(SPEC.inputs)), np.nan, np.float32)
    rows[:, _columns()] = order.data.recipient(spine.select("recipient_key", "at"), INPUTS)
    return _Mails(rows, cause, weight, (spine["at"] > edge).to_numpy())


def _curve(mails: _Mails, is_case: NDArray[np.bool_]) -> Curve:
    """Slopes by weighted maximum likelihood with a ridge on scaled inputs; flat for few cases."""
    bare = flat(_columns(), mails.rows)
    if is_case.sum() < MIN_CASES or is_case.all():
        return bare
    logs = bare.logs(mails.rows)
    scale = np.maximum(logs.std(axis=0), 1e-6)
    # Weights of the sampling would make the few cases fewer still: unweighted, slopes are right
    # under a logistic model (Prentice & Pyke 1979), and the intercept comes from the rate.
    model = LogisticRegression(C=1.0 / _RIDGE, max_iter=1_000)
    model.fit(logs / scale, is_case)
    return replace(bare, weights=model.coef_[0] / scale)


def _rate(mails: _Mails, is_case: NDArray[np.bool_], prior: float) -> float:
    """Cases per mail, drawn to the trade's."""
    return float((is_case.sum() + RATE_MAILS * prior) / (mails.weight.sum() + RATE_MAILS))


def _at_rate(curve: Curve, mails: _Mails, rate: float) -> Curve:
    """The curve whose mean over all mails is the rate."""
    z = curve.logs(mails.rows) @ curve.weights
    share = mails.weight / mails.weight.sum()
    found = brentq(lambda b: float(share @ expit(z + b)) - rate, -40.0, 40.0)
    return replace(curve, intercept=float(found))


def _flat(rate: float) -> Curve:
    nothing = np.zeros(len(INPUTS))
    return Curve(_columns(), nothing, nothing, float(np.log(rate / (1.0 - rate))))


def _measured(curve: Curve, sample: _Mails, cause: str) -> str:
    is_case, weight = (sample.cause == cause)[sample.is_test], sample.weight[sample.is_test]
    p = curve.predict(sample.rows[sample.is_test])
    told = f"{is_case.sum()} in {weight.sum():,.0f} newest mails, {p @ weight:,.0f} predicted"
    if is_case.sum() < MIN_CASES:
        return f"{told}; too few to say for whom"
    return f"{told}; AUC {auc(is_case.astype(np.float64), p):.3f}"


def _columns() -> NDArray[np.int64]:
    return np.array([SPEC.inputs.index(name) for name in INPUTS], np.int64)
