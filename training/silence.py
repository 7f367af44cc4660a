"""Silence without labels: BG/NBD over the churn model's own rows, and the same as a graph.

Source: Fader, Hardie and Lee (2005). With x repeats, the newest at t_x, the first T ago:
P(silent for t) = 1 - P(alive | x, t_x, T) (1 - ((alpha + T) / (alpha + T + t)) ** (r + x)).

Failure mode: it knows of opt-outs and of the sender's timetable only what they do to activity,
and several active hours of one evening are as many proofs of life to it.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from models.specs.churn import SPEC
from training.bgnbd import BgNbd, fit_bgnbd
from training.calibration import Platt
from training.graphs import Nodes

DAYS: Final = 7.0  # BG/NBD counts weeks
MAX_FITTED: Final = 8_000
_COLUMNS: Final = tuple(
    SPEC.inputs.index(name)
    for name in ("active_total", "days_since_first_active", "days_since_active")
)
_EDGE: Final = 1e-7

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Silence:
    """P(no sign of life within `span` weeks) of rows of the churn model.

    Args:
        platt: What the log odds go through where labels were at hand, as they are without.
    """

    model: BgNbd
    span: float
    platt: Platt = field(default_factory=Platt)

    def predict(self, rows: Rows) -> Floats:
        """Probabilities, shape (n,); what is missing counts as nothing seen."""
        p = self.model.p_silent(self.span, *pasts(rows))
        return p if self.platt == Platt() else self.platt.apply(log_odds(p))

    def nodes(self, g: Nodes, rows: str, *, output: str) -> None:
        """`predict` as nodes, shape (n, 1); in float64, as a long past needs."""
        known = g.node("Where", g.node("IsNaN", rows), g.number(0.0), rows)
        wide = g.node("Cast", known, to=g.DOUBLE)
        none = g.double(0.0)
        count, tenure, recency = (g.columns(wide, place, place + 1) for place in _COLUMNS)
        repeats = g.node("Max", g.node("Sub", g.node("Round", count), g.double(1.0)), none)
        newest = g.node("Div", g.node("Max", g.node("Sub", tenure, recency), none), g.double(DAYS))
        age = g.node("Div", g.node("Max", tenure, none), g.double(DAYS))
        aged = g.node("Add", age, g.double(self.model.alpha))
        power = g.node("Add", repeats, g.double(self.model.r))

        waited = g.node("Div", aged, g.node("Add", newest, g.double(self.model.alpha)))
        left = g.node("Add", g.node("Max", repeats, g.double(1.0)), g.double(self.model.b - 1.0))
        dropped = g.node("Log", g.node("Div", g.double(self.model.a), left))
        dead = g.node("Add", g.node("Mul", power, g.node("Log", waited)), dropped)
        is_new = g.node("Equal", repeats, none)
        alive = g.node("Where", is_new, g.double(1.0), g.node("Sigmoid", g.node("Neg", dead)))

        later = g.node("Log", g.node("Div", aged, g.node("Add", aged, g.double(self.span))))
        quiet = g.node("Exp", g.node("Mul", power, later))
        active = g.node("Mul", alive, g.node("Sub", g.double(1.0), quiet))
        p = g.node("Sub", g.double(1.0), active)
        if self.platt != Platt():
            p = g.node("Clip", p, g.double(_EDGE), g.double(1.0 - _EDGE))
            odds = g.node("Log", g.node("Div", p, g.node("Sub", g.double(1.0), p)))
            scaled = g.node("Mul", odds, g.double(self.platt.slope))
            p = g.node("Sigmoid", g.node("Add", scaled, g.double(self.platt.intercept)))
        g.node("Cast", p, to=g.FLOAT, output=output)


def log_odds(p: Floats) -> Floats:
    """Log odds of probabilities, kept off 0 and 1."""
    return np.asarray(logit(np.clip(p, _EDGE, 1.0 - _EDGE)))


def pasts(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Repeats, weeks from the first to the newest, weeks since the first; each (n,)."""
    found = np.nan_to_num(rows[:, _COLUMNS].astype(np.float64))
    count, tenure, recency = found.T
    repeats = np.maximum(np.round(count) - 1.0, 0.0)
    return repeats, np.maximum(tenure - recency, 0.0) / DAYS, np.maximum(tenure, 0.0) / DAYS


def fit_silence(rows: Rows, horizon_days: float) -> Silence:
    """BG/NBD on a cohort: everybody who was ever active, whether or not they still are.

    Args:
        rows: Of the churn model, all at one moment.
    """
    sample = np.random.default_rng(0).permutation(len(rows))[:MAX_FITTED]
    return Silence(fit_bgnbd(*(column[sample] for column in pasts(rows))), horizon_days / DAYS)
