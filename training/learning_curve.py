"""Would more people help? The loss of the same test after training on ever more recipients.

Parts are nested and hold whole recipients. The settings are cheap ones, the same at every
share, so the curve's level is not the model's; its slope is what is asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.report import Measured
from models.spec import ModelSpec
from training import clusters, metrics
from training.calibration import fit_bent
from training.pointwise import Labelled, apart, started
from training.rhythm import Past, Rhythm, fit_rhythm, log_likelihood
from training.splits import held_out
from training.trees import fit_trees, raw_score

SHARES: Final = (0.125, 0.25, 0.5, 1.0)
CHEAP: Final[dict[str, Any]] = {"learning_rate": 0.15, "min_data_in_leaf": 50}
MAX_VALIDATION: Final = 250
MAX_COHORTS: Final = 6
_SALT: Final = "learning curve"

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Keys = Sequence[str] | NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Curve:
    """Loss by share of the training recipients, and what the last doubling saved (paired)."""

    loss: str
    shares: tuple[float, ...]
    points: tuple[Measured, ...]
    saved: Measured

    @property
    def meaning(self) -> str:
        """The answer in words."""
        what = f"the last doubling of training people saved {self.saved.value:+.4f} {self.loss} "
        what += f"[{self.saved.low:+.4f}, {self.saved.high:+.4f}]"
        if self.saved.low > 0:
            return f"more people would help: {what}"
        return f"more people would hardly help, or not to be seen in this test: {what}"


def of_trees(data: Labelled, spec: ModelSpec, *, seed: int, starts: bool = False) -> Curve:
    """The curve of a pointwise model.

    Args:
        starts: As in `fit_pointwise`.
    """
    held = apart(spec, data.recipients)
    stop = ~data.is_test & held
    rows_of_test, y_of_test = data.rows[data.is_test], data.y[data.is_test]

    def loss(part: Mask) -> Floats:
        fit = ~data.is_test & ~held & part
        start = started(data.rows[fit], data.y[fit]) if starts else None
        booster = fit_trees(
            (data.rows[fit], data.y[fit]), (data.rows[stop], data.y[stop]), inputs=spec.inputs,
            seed=seed, start=start, **CHEAP,
        )  # fmt: skip
        platt = fit_bent(raw_score(booster, data.rows[stop], start=start), data.y[stop])
        odds = platt.odds(raw_score(booster, rows_of_test, start=start)) + log(data.kept)
        return metrics.log_losses(y_of_test, expit(odds))

    return _curve("log loss", loss, data.recipients, data.people_of_test)


def of_rhythm(
    rhythm: Rhythm,
    train: tuple[Keys, Past],
    validation: tuple[Past, Floats],
    test: tuple[Keys, Past, Floats],
    *,
    seed: int,
) -> Curve:
    """The curve of send time, with six cohorts where the model has more.

    Args:
        train: Recipients and their past weeks.
        validation: Past and later counts of other weeks; some of them pick the strengths.
        test: Recipients, past and later counts.
    """
    drawn = np.random.default_rng(seed).permutation(len(validation[1]))
    some = drawn < MAX_VALIDATION
    held = (validation[0].part(some), validation[1][some])
    people, past, later = test
    cohorts = min(len(rhythm.shares), MAX_COHORTS)

    def loss(part: Mask) -> Floats:
        fitted = fit_rhythm(
            train[1].part(part), held, seed=seed, cohorts=(cohorts,),
            offsets=(rhythm.offsets, rhythm.offset_shares),
        )  # fmt: skip
        return -log_likelihood(fitted.activity(past), later)

    return _curve("nats per event", loss, train[0], people)


def _curve(name: str, loss: Callable[[Mask], Floats], keys: Keys, people: Keys) -> Curve:
    losses = [loss(held_out(list(keys), share=share, salt=_SALT)) for share in SHARES]
    columns = np.stack([*losses, losses[-2] - losses[-1]], axis=1)
    groups = np.unique(np.asarray(people), return_inverse=True)[1]
    *points, saved = clusters.means(columns, groups)
    return Curve(name, SHARES, tuple(points), saved)
