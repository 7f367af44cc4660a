"""A ranker on the rows of a pointwise model: `rank_xendcg`, for the order alone.

It learns the order within each decision and no probability, so it cannot serve budgets, bandits or
off-policy evaluation. It stands in a report beside the pointwise model to say what these cost.

Rows are mixed within their decision: LightGBM's NDCG breaks ties by position, and where the chosen
come first the first tree, nearly all ties, looks perfect and stops the fit.

Source: Bruch et al. (2021), "An alternative cross entropy loss for learning-to-rank".
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.spec import ModelSpec
from training.pointwise import Labelled, Leaves, apart
from training.trees import Sizes, fit_trees, raw_score

# A decision's second derivatives sum to one at most, beside which the usual ridge of 5 is a wall.
# With it and randomised thresholds NDCG@10 on retail was 0.01 lower: picked in the ranker's favour.
_SETTINGS: Final[dict[str, Any]] = {
    "objective": "rank_xendcg",
    "metric": "ndcg",
    "eval_at": [10],
    "lambda_l2": 0.0,
    "extra_trees": False,
}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def xendcg_scores(
    spec: ModelSpec, data: Labelled, decision: Ints, *, leaves: Leaves, seed: int
) -> Floats:
    """Scores of the test rows by a ranker fitted and stopped on the pointwise model's rows.

    Args:
        decision: Of each row, shape (n,).
        leaves: As in `fit_pointwise`.

    Returns:
        Shape (n_test,); comparable within a decision only.
    """
    held = apart(spec, data.recipients)
    mixed = np.lexsort((np.random.default_rng(seed).random(len(decision)), decision))
    fit = mixed[(~data.is_test & ~held)[mixed]]
    stop = mixed[(~data.is_test & held)[mixed]]
    booster = fit_trees(
        (data.rows[fit], data.y[fit]),
        (data.rows[stop], data.y[stop]),
        inputs=spec.inputs,
        seed=seed,
        groups=(sizes_of(decision[fit]), sizes_of(decision[stop])),
        min_data_in_leaf=leaves.rows_of(len(fit)),
        **_SETTINGS,
    )
    return raw_score(booster, data.rows[data.is_test])


def sizes_of(decision: Ints) -> Sizes:
    """How many rows each decision has, in their order.

    >>> sizes_of(np.array([3, 3, 1, 8, 8, 8])).tolist()
    [2, 1, 3]
    """
    starts = np.flatnonzero(np.diff(decision, prepend=decision[:1] - 1) != 0)
    return np.diff(starts, append=len(decision)).astype(np.int64)
