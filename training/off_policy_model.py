"""A reward model for DM and DR that never saw the recipient it speaks of.

Recipients are dealt into folds; the rows of a fold are valued by trees fitted on the others. A
model that had seen a row's own reward would explain it away, and DR would be too sure.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from training.off_policy_log import Logged, PolicyLogError
from training.trees import fit_trees, raw_score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.float32]

FOLDS: Final = 5
_RATE: Final = 0.1  # coarser than a product model's: DR corrects what is left
_LEAVES: Final = 50  # the rows of a leaf are at least the rows of the fit over this


def cross_fit(
    logged: Logged,
    context: Floats,
    *,
    n_actions: int,
    seed: int,
    folds: int = FOLDS,
    **parameters: Any,
) -> Floats:
    """Value of every action in every row, shape (n, n_actions), by a model of other recipients.

    One fold is valued, the next one stops the fit, the rest is fitted on. Rewards of 0 and 1
    are fitted as probabilities, others by least squares.

    Args:
        context: Shape (n, d), what was known when the action was taken; NaN where it was not.
        n_actions: Actions that there are, taken or not.
        parameters: Of the trees, where they shall not be the usual ones.

    Raises:
        PolicyLogError: Rows do not match, an action has no column, or recipients are too few.
    """
    rows = np.asarray(context, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(logged):
        problem = f"shape {rows.shape}, the log has {len(logged)} rows"
        raise PolicyLogError("context", problem, "give one row of inputs for each decision")
    if (largest := int(logged.action.max())) >= n_actions:
        remedy = f"number the {n_actions} actions from 0"
        raise PolicyLogError("action", f"there is {largest}", remedy)
    if not 3 <= folds <= logged.n_groups:
        problem = f"{folds} folds for {logged.n_groups} recipients"
        raise PolicyLogError("folds", problem, "take at least 3 and at most one a recipient")
    fold = folds_of(logged.codes, logged.n_groups, folds=folds, seed=seed)
    values = np.empty((len(logged), n_actions))
    for number in range(folds):
        mine, stop = fold == number, fold == (number + 1) % folds
        parts = ~mine & ~stop, stop, mine
        values[mine] = _values(logged, rows, parts, n_actions, {"seed": seed} | parameters)
    return values


def folds_of(codes: Ints, n_groups: int, *, folds: int, seed: int) -> Ints:
    """A fold for each row, the same for all rows of a recipient; shape (n,)."""
    dealt = np.random.default_rng(seed).permutation(n_groups) % folds
    return np.asarray(dealt[codes], dtype=np.int64)


def _values(
    logged: Logged,
    rows: Rows,
    parts: tuple[NDArray[np.bool_], ...],
    n_actions: int,
    parameters: dict[str, Any],
) -> Floats:
    fit, stop, mine = parts
    reward = logged.reward
    if np.ptp(reward[fit]) == 0:
        return np.full((int(mine.sum()), n_actions), float(reward[fit].mean()))
    is_binary = bool(np.isin(reward, (0.0, 1.0)).all())
    inputs = [f"context_{i}" for i in range(rows.shape[1])] + [f"is_{a}" for a in range(n_actions)]
    marks = np.eye(n_actions, dtype=np.float32)
    booster = fit_trees(
        (np.hstack([rows[fit], marks[logged.action[fit]]]), reward[fit]),
        (np.hstack([rows[stop], marks[logged.action[stop]]]), reward[stop]),
        inputs=inputs,
        **{
            "objective": "binary" if is_binary else "regression",
            "learning_rate": _RATE,
            "min_data_in_leaf": int(np.clip(fit.sum() / _LEAVES, 20, 200)),
            **parameters,
        },
    )
    asked = np.hstack([rows[mine], np.zeros((int(mine.sum()), n_actions), np.float32)])
    columns = []
    for action in range(n_actions):
        asked[:, rows.shape[1] :] = marks[action]
        columns.append(raw_score(booster, asked))
    scores = np.stack(columns, axis=1)
    return np.asarray(expit(scores)) if is_binary else scores
