"""LightGBM as we use it: float32 inputs, thresholds floored to float32, known modes only.

LightGBM puts thresholds between data values in float64; the ONNX converter rounds them to the
nearest float32, which can land on a value and send it the other way. Floored to the largest
float32 at or below, both sides agree for every float32 input, and LightGBM's own answers do
not change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.calibration import Platt
from training.curve import Curve
from training.errors import EstimatorRefusedError

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Sizes = NDArray[np.int64]

PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.06,  # 0.03 makes twice the trees and no better ones: decision 0042
    "num_leaves": 15,
    "extra_trees": True,  # random thresholds: -0.004 to -0.006 log loss on all three real splits
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
}


@dataclass(frozen=True, slots=True)
class CalibratedTrees:
    """A booster with floored thresholds and the calibration of its raw score.

    Args:
        start: What the trees were added to; its log odds are part of the raw score.
    """

    booster: lgb.Booster
    platt: Platt
    inputs: tuple[str, ...]
    start: Curve | None = None

    def predict(self, rows: Rows) -> Floats:
        """Probabilities, shape (n,): the native answer that the exported graph must repeat."""
        return self.platt.apply(raw_score(self.booster, rows, start=self.start))

    def thresholds(self) -> list[tuple[int, float]]:
        """Every split as (input column, threshold)."""
        found: set[tuple[int, float]] = set()
        for tree in self.booster.dump_model()["tree_info"]:
            stack = [tree["tree_structure"]]
            while stack:
                node = stack.pop()
                if "split_feature" in node:
                    found.add((int(node["split_feature"]), float(node["threshold"])))
                    stack += [node["left_child"], node["right_child"]]
        return sorted(found)

    def importance(self) -> dict[str, float]:
        """Share of the trees' total gain per input, largest first; of a start it says nothing."""
        gain = self.booster.feature_importance("gain")
        total = float(gain.sum()) or 1.0
        shares = {n: float(g) / total for n, g in zip(self.inputs, gain, strict=True) if g > 0}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def contributions(self, rows: Rows, *, at_most: int = 1_000) -> dict[str, float]:
        """Mean absolute contribution to the log odds per input, largest first.

        Source: TreeSHAP (Lundberg 2020) as LightGBM computes it, and of a start each term less its
        mean, on rows spread evenly over those given. It says what the model uses, not what causes
        the outcome; inputs that say the same thing share what one of them would have.
        """
        step = max(len(rows) // at_most, 1)
        some = rows[::step][:at_most]
        told = np.asarray(self.booster.predict(some, pred_contrib=True))
        if self.start is not None:
            terms = self.start.logs(some) * self.start.weights
            told[:, self.start.columns] += terms - terms.mean(axis=0)
            told[:, -1] += self.start.intercept + terms.mean(axis=0).sum()
        slopes = self.platt.slopes_at(told.sum(axis=1))
        size = (slopes[:, None] * np.abs(told[:, :-1])).mean(axis=0)
        shares = {n: float(v) for n, v in zip(self.inputs, size, strict=True) if v > 0}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def fit_trees(  # noqa: PLR0913  what LightGBM is called with
    train: tuple[Rows, Floats],
    stop: tuple[Rows, Floats],
    *,
    inputs: Sequence[str],
    seed: int,
    start: Curve | None = None,
    groups: tuple[Sizes, Sizes] | None = None,
    after_tree: Callable[[], None] | None = None,
    **parameters: Any,
) -> lgb.Booster:
    """Fit a booster, stopping where held-out recipients stop improving; thresholds floored.

    Args:
        start: Log odds that the trees are added to, so that they learn what it misses.
        groups: For an objective that ranks: how many consecutive rows each decision has, in
            training and in what stops it.
        after_tree: Called after every tree; what it raises ends the fit.

    Raises:
        EstimatorRefusedError: The parameters name a mode that converts wrongly.
    """
    settings = PARAMETERS | parameters | {"seed": seed}
    for setting in ("linear_tree", "zero_as_missing"):
        if settings.get(setting):
            raise EstimatorRefusedError(setting)
    if settings.get("boosting", "gbdt") != "gbdt":
        raise EstimatorRefusedError(f"boosting={settings['boosting']}")
    names = list(inputs)
    sizes, held_sizes = groups or (None, None)
    first, held_first = (
        None if start is None else start.odds(rows) for rows in (train[0], stop[0])
    )
    data = lgb.Dataset(
        *train, group=sizes, init_score=first, feature_name=names, free_raw_data=False
    )
    held = lgb.Dataset(
        *stop, group=held_sizes, init_score=held_first, reference=data, free_raw_data=False
    )
    callbacks: list[Callable[..., Any]] = [lgb.early_stopping(50, verbose=False)]
    if after_tree is not None:
        callbacks.append(lambda _: after_tree())
    booster = lgb.train(settings, data, 800, [held], callbacks=callbacks)
    return floored(booster)


def raw_score(booster: lgb.Booster, rows: Rows, *, start: Curve | None = None) -> Floats:
    """Log odds, shape (n,), with those of what the trees were added to."""
    raw = np.asarray(booster.predict(rows, raw_score=True), dtype=np.float64)
    return raw if start is None else raw + start.odds(rows)


def floored(booster: lgb.Booster) -> lgb.Booster:
    """The same booster with each threshold at the largest float32 not above it."""
    lines: list[str] = []
    for line in booster.model_to_string(num_iteration=booster.best_iteration or None).split("\n"):
        if line.startswith("tree_sizes="):
            continue  # they would no longer be true; LightGBM does without
        if line.startswith("threshold="):
            values = (float32_floor(float(t)) for t in line.removeprefix("threshold=").split())
            line = "threshold=" + " ".join(f"{value:.17g}" for value in values)  # noqa: PLW2901
        lines.append(line)
    return lgb.Booster(model_str="\n".join(lines))


def float32_floor(value: float) -> float:
    """The largest float32 at or below a number.

    >>> float32_floor(0.1) <= 0.1
    True
    """
    with np.errstate(over="ignore"):  # a split on being missing has a threshold of 1e300
        nearest = np.float32(value)
    if float(nearest) > value:
        nearest = np.nextafter(nearest, np.float32(-np.inf))
    return float(nearest)
