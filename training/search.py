"""Settings of the trees searched for within a bound of time or trials, the usual ones first.

Recipients and time are set apart as training itself does it, one step earlier. A trial learns
from the older rows of most recipients and stops on the older rows of the others, whose newest
rows judge it: half of these people pick the best trial, and the other half say whether it is
better than the usual settings by more than one standard error, so that the best of many trials is
not taken for its luck. No recipient is on two sides, whatever their label windows share.

Source: TPE (Bergstra et al. 2011), as optuna does it.

Failure mode: with few recipients nothing is surely better, and the usual settings stay.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from time import monotonic
from typing import Any, Final, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from training.calibration import fit_platt
from training.clusters import errors_of
from training.curve import Curve
from training.metrics import log_losses
from training.splits import held_out
from training.trees import PARAMETERS, fit_trees, raw_score

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NEWEST: Final = 0.25  # of the rows, to judge by
HELD: Final = 0.4  # of the recipients, to stop and to judge by
MIN_OF_A_CLASS: Final = 25  # of the rarer class, in each of the four parts
LEAF: Final = "min_data_in_leaf"


@dataclass(frozen=True, slots=True)
class Bound:
    """How long to search: seconds, trials, or whichever ends first; neither is no search.

    With trials alone the same seed gives the same settings. The clock is asked before every trial
    and after every tree, and a trial that it cuts short counts for nothing; a search runs over by
    a tree, or by what is not cut: the bins before the first tree, the answers after the last.
    """

    seconds: float = 0.0
    trials: int = 0
    clock: Callable[[], float] = field(default=monotonic, compare=False)

    @property
    def is_set(self) -> bool:
        """Whether there is anything to search for."""
        return self.seconds > 0 or self.trials > 0


class Past(NamedTuple):
    """What a search may see: rows that train, never those that stop, calibrate or test.

    Args:
        rows: Shape (n, n_inputs).
        y: Labels, shape (n,).
        recipients: Of each row.
        at: When each row stands, shape (n,).
        start: What the trees of every trial are added to.
    """

    rows: NDArray[np.float32]
    y: Floats
    recipients: Sequence[str]
    at: NDArray[np.int64]
    start: Curve | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Settings to fit with, those of the usual ones that are to change, and why, in words."""

    settings: Mapping[str, Any]
    meaning: str


class _TimeIsUpError(Exception):
    """Thrown out of a trial by its clock."""


class _Parts(NamedTuple):
    fit: Flags
    stop: Flags
    pick: Flags
    confirm: Flags


def search(past: Past, bound: Bound, *, inputs: Sequence[str], leaf: int, seed: int) -> Found:
    """The best settings of as many trials as the bound allows, if surely better than the usual.

    Args:
        leaf: The least rows of a leaf as it is without a search.
    """
    parts = _apart(past)
    short = min(_rarer(past.y[part]) for part in parts)
    if short < MIN_OF_A_CLASS:
        return Found({}, f"none: a part had {short} rows of the rarer class to judge by")
    usual = {name: PARAMETERS[name] for name in _drawn_from(leaf)} | {LEAF: leaf}
    tried = _tried(past, parts, bound, usual, inputs=inputs, seed=seed)
    spent = f" in {bound.seconds:g} s" if bound.seconds else ""
    if not tried:
        return Found({}, f"no trial ended{spent}; the usual settings stay")
    said = f"{len(tried)} settings tried{spent}"
    best = min(tried, key=lambda trial: trial.losses[parts.pick].mean())
    if best is tried[0]:
        return Found({}, f"{said}; the usual ones were the best")
    gain = (tried[0].losses - best.losses)[parts.confirm]
    people = np.asarray(past.recipients)[parts.confirm]
    groups = np.unique(people, return_inverse=True)[1]
    error = float(errors_of(gain[:, None], groups)[0])
    better = float(gain.mean())
    said += f"; the best saves {better:+.4f} log loss (standard error {error:.4f}) on the newest "
    said += f"rows of {len(np.unique(groups))} recipients that no trial was picked by"
    if better <= error:
        return Found({}, f"{said}: the usual ones stay")
    return Found(best.settings, f"{said}: taken, {_shown(best.settings)}")


class _Trial(NamedTuple):
    settings: dict[str, Any]
    losses: Floats


def _tried(
    past: Past,
    parts: _Parts,
    bound: Bound,
    usual: dict[str, Any],
    *,
    inputs: Sequence[str],
    seed: int,
) -> list[_Trial]:
    """Every trial that ended, the usual settings first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(usual)
    until = bound.clock() + bound.seconds if bound.seconds else inf

    def watch() -> None:
        if bound.clock() >= until:
            raise _TimeIsUpError

    tried: list[_Trial] = []
    space = _drawn_from(usual[LEAF])
    for _ in range(bound.trials) if bound.trials else count():
        trial = study.ask(space)
        try:
            watch()
            losses = _losses(past, parts, trial.params, inputs=inputs, seed=seed, watch=watch)
        except _TimeIsUpError:
            break
        tried.append(_Trial(trial.params, losses))
        study.tell(trial, float(losses[parts.pick].mean()))
    return tried


def _losses(
    past: Past,
    parts: _Parts,
    settings: dict[str, Any],
    *,
    inputs: Sequence[str],
    seed: int,
    watch: Callable[[], None],
) -> Floats:
    """The log loss of every row after one trial, calibrated on what stopped it."""
    booster = fit_trees(
        (past.rows[parts.fit], past.y[parts.fit]),
        (past.rows[parts.stop], past.y[parts.stop]),
        inputs=inputs,
        seed=seed,
        start=past.start,
        after_tree=watch,
        **settings,
    )
    raw = raw_score(booster, past.rows, start=past.start)
    return log_losses(past.y, fit_platt(raw[parts.stop], past.y[parts.stop]).apply(raw))


def _drawn_from(leaf: int) -> dict[str, optuna.distributions.BaseDistribution]:
    """What a trial draws its settings from; the usual ones lie inside."""
    whole, real = optuna.distributions.IntDistribution, optuna.distributions.FloatDistribution
    return {
        "num_leaves": whole(4, 63, log=True),
        LEAF: whole(max(leaf // 4, 5), 4 * leaf, log=True),
        "feature_fraction": real(0.2, 1.0),
        "lambda_l2": real(0.1, 100.0, log=True),
        "learning_rate": real(0.015, 0.2, log=True),
        "extra_trees": optuna.distributions.CategoricalDistribution([True, False]),
    }


def _apart(past: Past) -> _Parts:
    is_new = past.at >= np.quantile(past.at, 1.0 - NEWEST, method="higher")
    held = held_out(past.recipients, share=HELD, salt="search")
    picks = held_out(past.recipients, share=0.5, salt="search: picks")
    return _Parts(~is_new & ~held, ~is_new & held, is_new & held & picks, is_new & held & ~picks)


def _rarer(y: Floats) -> int:
    return int(min(y.sum(), (1.0 - y).sum()))


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
    )
