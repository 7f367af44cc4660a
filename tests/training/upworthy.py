"""Upworthy's headline tests: pairs of headlines shown at random beside the same picture.

Arms of one test with the same picture that differ in the headline make a pair; arms with the same
headline are put together first. A pair is *told apart* where a two-sided z-test of the two click
rates says so at 5 %; among the others the better one is better by chance, and no text can know it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from models.report import Measured
from training.metrics import mean_by_group
from training.text import fit_text_choice, grouped

TOLD_APART: Final = float(ndtri(0.975))
MOST_SURE: Final = 6.0  # |z| beyond which a pair weighs no more
FOLDS: Final = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two headlines each, z of the difference of their click rates, and what they share."""

    first: NDArray[np.str_]
    second: NDArray[np.str_]
    z: Floats
    group: NDArray[np.int64]

    @property
    def is_told_apart(self) -> NDArray[np.bool_]:
        return np.abs(self.z) > TOLD_APART

    @property
    def fold(self) -> NDArray[np.int64]:
        """0 to 4 at random, whole groups together."""
        return np.random.default_rng(0).integers(0, FOLDS, self.group.max() + 1)[self.group]


def headline_pairs(folder: Path) -> Pairs:
    keys = ["clickability_test_id", "eyecatcher_id", "headline"]
    arms = (
        pl.read_parquet(folder / "upworthy.parquet")
        .with_columns(pl.col("headline").str.strip_chars(), pl.col("eyecatcher_id").fill_null(""))
        .group_by(keys, maintain_order=True)
        .agg(pl.col("impressions").sum(), pl.col("clicks").sum())
        .with_row_index("arm")
    )
    pairs = arms.join(arms, on=keys[:2], suffix="_2").filter(pl.col("arm") < pl.col("arm_2"))
    clicks, shown = (
        pairs.select(name, f"{name}_2").to_numpy().astype(float)
        for name in ("clicks", "impressions")
    )
    both = clicks.sum(axis=1) / shown.sum(axis=1)
    spread = np.sqrt(both * (1 - both) * (1 / shown).sum(axis=1))
    rate = clicks / shown
    z = np.divide(rate[:, 0] - rate[:, 1], spread, out=np.zeros(len(both)), where=spread > 0)
    first, second = pairs["headline"].to_numpy(), pairs["headline_2"].to_numpy()
    told = z != 0
    tests = pairs["clickability_test_id"].to_list()
    group = grouped(first, second, tests)
    return Pairs(first[told].astype(str), second[told].astype(str), z[told], group[told])


def leads(pairs: Pairs, folds: range = range(FOLDS)) -> tuple[Pairs, dict[str, Floats]]:
    """By method how far it puts the first before the second, on pairs of groups left out."""
    fold, rng = pairs.fold, np.random.default_rng(1)
    asked = np.isin(fold, list(folds))
    lead = np.zeros(len(fold))
    for number in folds:
        fit, test = fold != number, fold == number
        weight = np.minimum(np.abs(pairs.z[fit]), MOST_SURE)
        model = fit_text_choice(pairs.first[fit], pairs.second[fit], pairs.z[fit] > 0, weight)
        lead[test] = model.strength(pairs.first[test]) - model.strength(pairs.second[test])
    longer = np.char.str_len(pairs.first) - np.char.str_len(pairs.second)
    methods = {
        "TF-IDF of words and letters": lead,
        "the longer one": longer.astype(float),
        "random": rng.normal(size=len(fold)),
    }
    held = Pairs(pairs.first[asked], pairs.second[asked], pairs.z[asked], pairs.group[asked])
    return held, {name: values[asked] for name, values in methods.items()}


def accuracy(pairs: Pairs, lead: dict[str, Floats]) -> dict[str, Measured]:
    """Share of pairs put right by method, a draw being half right; whole groups are resampled."""
    right = [np.where(v == 0, 0.5, (v > 0) == (pairs.z > 0)) for v in lead.values()]
    found = mean_by_group(np.stack(right, axis=1).astype(float), pairs.group.astype(str).tolist())
    return dict(zip(lead, found, strict=True))


def told_apart(pairs: Pairs, lead: dict[str, Floats]) -> tuple[Pairs, dict[str, Floats]]:
    """Only the pairs whose click rates surely differ."""
    some = pairs.is_told_apart
    kept = Pairs(pairs.first[some], pairs.second[some], pairs.z[some], pairs.group[some])
    return kept, {name: values[some] for name, values in lead.items()}
