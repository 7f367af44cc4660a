"""Upworthy's headline tests: headlines shown at random beside the same picture.

Arms of one test with the same picture that differ in the headline make a pair; arms with the same
headline are put together first. Pairs of one test share it, whatever the picture.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.text import grouped
from training.text_trial import BY_LENGTH, BY_WORDS, FOLDS, Pairs, leads, pairs_of

RANDOM: Final = "random"
_BETWEEN: Final = "\x1f"

Floats = NDArray[np.float64]


def headline_pairs(folder: Path) -> Pairs:
    rows = pl.read_parquet(folder / "upworthy.parquet").select(
        pl.concat_str(
            "clickability_test_id", pl.col("eyecatcher_id").fill_null(""), separator=_BETWEEN
        ).alias("test"),
        pl.col("headline").alias("text"),
        pl.col("impressions").alias("shown"),
        pl.col("clicks").alias("clicked"),
    )
    pairs = pairs_of(rows)
    tests = [test.split(_BETWEEN)[0] for test in pairs.test]
    return replace(pairs, group=grouped(pairs.first, pairs.second, tests))


def methods(pairs: Pairs, folds: range = range(FOLDS)) -> tuple[Pairs, dict[str, Floats]]:
    """By method how far it puts the first before the second, on pairs of the folds asked."""
    drawn = np.random.default_rng(1).normal(size=len(pairs.z))
    lead = {BY_WORDS: leads(pairs, folds), BY_LENGTH: pairs.longer, RANDOM: drawn}
    asked = np.isin(pairs.fold, list(folds))
    return pairs.part(asked), {name: values[asked] for name, values in lead.items()}


def told_apart(pairs: Pairs, lead: dict[str, Floats]) -> tuple[Pairs, dict[str, Floats]]:
    """Only the pairs whose click rates surely differ."""
    some = pairs.is_told_apart
    return pairs.part(some), {name: values[some] for name, values in lead.items()}
