"""How well a sender's own comparisons of texts tell which text does better, and of new ones which.

Every two texts of one test make a pair. A pair is *told apart* where a two-sided z-test of the two
click rates says so at 5 %; among the others the better one is better by chance, and no text can
know it. Each pair is judged by what was learnt from groups that share neither test nor text with
it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from models.report import Measured
from training.calibration import fit_platt
from training.errors import TooFewRowsError
from training.metrics import mean_by_group
from training.text import TextChoice, fit_text_choice, grouped

COLUMNS: Final = ("test", "text", "shown", "clicked")
TOLD_APART: Final = float(ndtri(0.975))
MOST_SURE: Final = 6.0  # |z| beyond which a pair weighs no more
FOLDS: Final = 5
MIN_PAIRS, MIN_GROUPS = 150, 25  # so that every fold learns from enough and whole groups differ
BY_WORDS, BY_LENGTH = "words and letters", "the longer one"

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two texts each, z of the difference of their click rates, and what they share.

    Args:
        test: Where both were shown, side by side at random.
        group: The same number for pairs that share a test or a text; see `text.grouped`.
    """

    first: NDArray[np.str_]
    second: NDArray[np.str_]
    z: Floats
    test: NDArray[np.str_]
    group: NDArray[np.int64]

    @property
    def is_told_apart(self) -> Flags:
        """Whether the click rates surely differ, shape (n,)."""
        return np.asarray(np.abs(self.z) > TOLD_APART)

    @property
    def fold(self) -> NDArray[np.int64]:
        """0 to 4 at random, whole groups together."""
        of_group = np.random.default_rng(0).integers(0, FOLDS, self.group.max() + 1)
        return np.asarray(of_group[self.group])

    @property
    def longer(self) -> Floats:
        """Letters that the first has more than the second."""
        return (np.char.str_len(self.first) - np.char.str_len(self.second)).astype(float)

    def part(self, rows: Flags) -> Self:
        """Some of the pairs."""
        names = ("first", "second", "z", "test", "group")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


@dataclass(frozen=True, slots=True)
class Trial:
    """What words are good for: by method the share of pairs put right, of others than learnt from.

    Args:
        surely: The same of the pairs that are told apart, empty where they are fewer than 30.
    """

    pairs: Pairs
    lead: Floats
    every: Mapping[str, Measured]
    surely: Mapping[str, Measured]

    @property
    def is_better_than_chance(self) -> bool:
        """Whether the interval of all pairs lies above one half."""
        return self.every[BY_WORDS].low > 0.5

    def chances(self, texts: Sequence[str]) -> Floats:
        """Chance of each text to be clicked more often than the first of them, shape (n,).

        Of one more comparison such as the past ones, with their noise; calibrated on pairs that
        were not learnt from. The first has one half.
        """
        model = _fitted(self.pairs)
        strength = model.strength(texts)
        # Either order of a pair says the same, so the curve goes through one half.
        raw, won = np.r_[self.lead, -self.lead], np.r_[self.pairs.z > 0, self.pairs.z < 0]
        slope = fit_platt(raw, won.astype(np.float64)).slope
        return np.asarray(expit(slope * (strength - strength[0])))


def pairs_of(rows: pl.DataFrame) -> Pairs:
    """Every two texts of a test whose click rates are not the same.

    Args:
        rows: Columns test, text, shown, clicked; rows of one text in one test are added up.
    """
    arms = (
        rows.select(pl.col("test", "text").cast(pl.String), "shown", "clicked")
        .with_columns(pl.col("text").str.strip_chars())
        .group_by("test", "text", maintain_order=True)
        .agg(pl.col("shown").sum(), pl.col("clicked").sum())
        .with_row_index("arm")
    )
    pairs = arms.join(arms, on="test", suffix="_2").filter(pl.col("arm") < pl.col("arm_2"))
    clicks, shown = (
        pairs.select(name, f"{name}_2").to_numpy().astype(float) for name in ("clicked", "shown")
    )
    both = clicks.sum(axis=1) / shown.sum(axis=1)
    spread = np.sqrt(both * (1 - both) * (1 / shown).sum(axis=1))
    rate = clicks / shown
    z = np.divide(rate[:, 0] - rate[:, 1], spread, out=np.zeros(len(both)), where=spread > 0)
    first, second, test = (pairs[name].to_list() for name in ("text", "text_2", "test"))
    group = grouped(first, second, test) if test else np.zeros(0, np.int64)
    found = Pairs(np.array(first, str), np.array(second, str), z, np.array(test, str), group)
    return found.part(z != 0)


def leads(pairs: Pairs, folds: Iterable[int] = range(FOLDS)) -> Floats:
    """How far words put the first before the second, learnt from other folds; NaN in no fold."""
    fold, lead = pairs.fold, np.full(len(pairs.z), np.nan)
    for number in folds:
        model, test = _fitted(pairs.part(fold != number)), fold == number
        lead[test] = model.strength(pairs.first[test]) - model.strength(pairs.second[test])
    return lead


def put_right(pairs: Pairs, lead: Mapping[str, Floats]) -> dict[str, Measured]:
    """Share of pairs put right by method, a draw being half right; whole groups are resampled."""
    right = [np.where(v == 0, 0.5, (v > 0) == (pairs.z > 0)) for v in lead.values()]
    found = mean_by_group(np.stack(right, axis=1).astype(float), pairs.group.astype(str).tolist())
    return dict(zip(lead, found, strict=True))


def try_texts(rows: pl.DataFrame) -> Trial:
    """Judge words on a sender's own comparisons.

    Args:
        rows: As `pairs_of` takes them.

    Raises:
        TooFewRowsError: Fewer than 150 pairs, or than 25 groups that share nothing.
    """
    pairs = pairs_of(rows)
    for found, need, what in (
        (len(pairs.z), MIN_PAIRS, "pairs of texts with different click rates"),
        (len(np.unique(pairs.group)), MIN_GROUPS, "groups of comparisons that share no text"),
    ):
        if found < need:
            remedy = "add comparisons of other texts; until then choose yourself or by a test"
            raise TooFewRowsError("text", rows=found, need=need, what=what, remedy=remedy)
    lead = {BY_WORDS: leads(pairs), BY_LENGTH: pairs.longer}
    sure = pairs.is_told_apart
    surely = {}
    if sure.sum() >= 30:
        surely = put_right(pairs.part(sure), {name: v[sure] for name, v in lead.items()})
    return Trial(pairs, lead[BY_WORDS], put_right(pairs, lead), surely)


def _fitted(pairs: Pairs) -> TextChoice:
    weight = np.minimum(np.abs(pairs.z), MOST_SURE)
    return fit_text_choice(pairs.first.tolist(), pairs.second.tolist(), pairs.z > 0, weight)
