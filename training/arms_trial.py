"""A randomised mailing: who got which arm, by what chance, and what came of it; checked once.

Arms that were drawn by chance have recipients alike in all that was known before. What differs
between them more than chance allows was either known only afterwards (a click, money spent) or
shows that the arms were not drawn with the chances stated. Both make any comparison wrong, so
both are refused.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.arms_context import encode
from training.off_policy_interval import moments
from training.off_policy_log import Logged, PolicyLogError

Floats = NDArray[np.float64]

KEYS: Final = ("recipient_key", "arm")
OUTCOME: Final = "outcome"
PROPENSITY: Final = "propensity"
MIN_ROWS: Final = 50  # of an arm; judgement: with fewer a fold has no more than ten to judge on
FALSE_ALARM: Final = 0.001  # share of right files that the check of balance may refuse


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A randomised experiment, one row each drawing of an arm.

    Args:
        arms: Names; `logged.action` numbers them.
        logged: Arm, outcome, chance of the arm and recipient of each row.
        context: Shape (n, d), known before the arm was drawn; NaN where it was not.
        inputs: Names of the columns of the context.
        is_even: Whether chances were not given but taken as even.

    Raises:
        PolicyLogError: Fewer than 2 arms, an arm with too few rows, or arms that were not drawn
            by these chances or differ in their context.
    """

    arms: tuple[str, ...]
    logged: Logged
    context: Floats
    inputs: tuple[str, ...]
    is_even: bool = False

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            problem = f"there is only {self.arms[0]!r}" if self.arms else "there is none"
            raise PolicyLogError("arm", problem, "2 or more must have been drawn by chance")
        counts = np.bincount(self.logged.action, minlength=len(self.arms))
        if counts.min() < MIN_ROWS:
            problem = f"{self.arms[int(counts.argmin())]!r} has {counts.min()} rows"
            remedy = f"leave arms out that were tried on fewer than {MIN_ROWS}"
            raise PolicyLogError("arm", problem, remedy)
        _refuse_other_chances(self)
        _refuse_unlike_arms(self)

    def number_of(self, arm: str) -> int:
        """The number of an arm.

        Raises:
            PolicyLogError: There is no such arm.
        """
        if arm not in self.arms:
            raise PolicyLogError("arm", f"there is no {arm!r}", f"take of {', '.join(self.arms)}")
        return self.arms.index(arm)

    def weights(self, arm: int) -> Floats:
        """One over the chance in the rows of an arm, else 0; shape (n,)."""
        return np.asarray((self.logged.action == arm) / self.logged.propensity)


def trial_of(rows: pl.DataFrame) -> Trial:
    """The experiment in a table of recipient_key, arm, outcome, maybe propensity, and context.

    Without propensities the arms are taken as drawn evenly. The order of rows says nothing.

    Raises:
        PolicyLogError: A value is out of range, or see `Trial`.
    """
    rows = rows.with_columns(pl.col("arm").cast(pl.String)).sort(rows.columns)
    arms = tuple(rows["arm"].unique().sort())
    is_even = PROPENSITY not in rows.columns
    even = np.full(len(rows), 1 / max(len(arms), 1))
    logged = Logged(
        action=rows["arm"].rank("dense").cast(pl.Int64).to_numpy() - 1,
        reward=rows[OUTCOME].cast(pl.Float64).to_numpy(),
        propensity=even if is_even else rows[PROPENSITY].cast(pl.Float64).to_numpy(),
        group=rows["recipient_key"].rank("dense").to_numpy(),
    )
    context, inputs = encode(rows.drop(*KEYS, OUTCOME, PROPENSITY, strict=False))
    return Trial(arms, logged, context, inputs, is_even=is_even)


def _refuse_other_chances(trial: Trial) -> None:
    confidence = 1 - FALSE_ALARM / len(trial.arms)
    for number, arm in enumerate(trial.arms):
        w = trial.weights(number)
        low, mean, high = _mean_of(w, trial.logged, confidence=confidence)
        if not low <= 1 <= high:
            share = (trial.logged.action == number).mean()
            problem = (
                f"{arm!r} has {share:.1%} of the rows, {mean:.2f} times what the chances say"
                + (" when all arms are equally likely" if trial.is_even else "")
            )
            remedy = "give every row the chance with which its arm was drawn"
            raise PolicyLogError(PROPENSITY, problem, remedy)


def _refuse_unlike_arms(trial: Trial) -> None:
    with_gaps = np.isnan(trial.context)
    known = np.maximum((~with_gaps).sum(axis=0), 1)
    middle = np.where(with_gaps, 0, trial.context).sum(axis=0) / known
    filled = np.where(with_gaps, middle, trial.context)
    gaps = [f"{name} (missing)" for name in trial.inputs]
    # Ranks: a few huge amounts would make means differ that are alike.
    table = rankdata(np.hstack([filled, with_gaps]), axis=0)
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)
    confidence = 1 - FALSE_ALARM / (len(trial.arms) * max(int((spread > 0).sum()), 1))
    for name, column in zip((*trial.inputs, *gaps), table.T, strict=True):
        for number, arm in enumerate(trial.arms):
            each = trial.weights(number) * column
            low, mean, high = _mean_of(each, trial.logged, confidence=confidence)
            if not low <= 0 <= high:
                problem = f"ranks {mean:+.2f} standard deviations off in arm {arm!r}"
                remedy = (
                    "leave out what was known only after the mail was sent; if it was known "
                    "before, the arms were not drawn with these chances"
                )
                raise PolicyLogError(name, problem, remedy)


def _mean_of(each: Floats, logged: Logged, *, confidence: float) -> tuple[float, float, float]:
    mean = float(each.mean())
    found = moments(mean, (each - mean) / len(each), logged.codes, logged.n_groups)
    interval = found.interval(confidence=confidence)
    return interval.low, mean, interval.high
