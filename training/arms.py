"""Which arm to whom, from a randomised mailing: personal choices only where they surely pay.

Trees with the arm as an input predict the outcome of every arm for every recipient, always from
other recipients (folds). The personal policy gives each the arm with the highest prediction. It is
judged by the doubly robust score against the best single arm, paired, and replaces that arm only
where the lower bound of its gain is above zero: uplift is small, and choices learnt from noise
earn less than one good arm for everybody.

The best arm is chosen and judged on the same rows, so its own value is too high by the luck that
made it the best. The gain is corrected for that choice: its lower bound is the lowest of those
against every single arm. To beat the best arm is to beat each of them, whichever it is, so the
bound holds without knowing which (intersection-union). Choosing the arm on other folds instead was
tried and is wrong here: where two arms are close, the one that other folds favour is the one that
this fold disfavours, and personal choices won against a rival made weak.

Source: Dudik, Langford and Li (2011) for the doubly robust score; Chernozhukov et al. (2018),
"Double/debiased machine learning", for folds and for repeating them with other deals; Berger
(1982), "Multiparameter hypothesis testing and acceptance sampling", for the bound.

Failure mode: the gain is that of policies learnt on four fifths of the recipients, and nothing is
known of later mailings. With arms that are nearly equal the rule is slow to personalise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.report import Measured
from training.arms_qini import Ranked, qini_interval, rank_within
from training.arms_trial import Trial
from training.off_policy_interval import moments, unseen_row
from training.off_policy_model import FOLDS, cross_fit, folds_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REPEATS: Final = 3  # deals into folds; the verdict of one deal depends on its seed
# Effects of an arm are small beside what makes recipients differ: few leaves, small steps.
_TREES: Final = {"num_leaves": 4, "learning_rate": 0.06}


@dataclass(frozen=True, slots=True, eq=False)
class Deal:
    """One cross-fitting: what models of the other folds say in every row.

    Args:
        q: Shape (n, k), predicted outcome of every arm.
        fold: Shape (n,).
    """

    q: Floats
    fold: Ints

    @property
    def personal(self) -> Ints:
        """The arm with the highest predicted outcome; shape (n,)."""
        return np.asarray(self.q.argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is known of arms and personal choices; outcomes per row, 95 % intervals.

    Args:
        values: Each arm for everybody.
        best: Number of the arm with the highest value, the one to send. Its value is too high by
            the luck of having been the highest.
        personal: To each the arm with the highest predicted outcome.
        gains: That less each arm for everybody, paired.
        shares: Share of rows to which personal choices give each arm.
    """

    arms: tuple[str, ...]
    values: tuple[Measured, ...]
    best: int
    personal: Measured
    gains: tuple[Measured, ...]
    shares: tuple[float, ...]

    @property
    def gain(self) -> Measured:
        """Personal choices less the best arm; the lower bound holds whichever arm that is."""
        best = self.gains[self.best]
        return Measured(best.value, min(gain.low for gain in self.gains), best.high)

    @property
    def is_personal(self) -> bool:
        """Whether personal choices surely earn more than the best arm for everybody."""
        return self.gain.low > 0

    @property
    def verdict(self) -> str:
        """What to do, in a sentence with its numbers."""
        found = f"{self.gain.value:+.3g} [{self.gain.low:.3g}, {self.gain.high:.3g}]"
        arm = f"`{self.arms[self.best]}`"
        if self.is_personal:
            return (
                f"choose for each recipient: personal choices add {found} to sending {arm} to "
                "everybody, above zero"
            )
        return f"send {arm} to everybody: personal choices add {found}, not above zero"


def deal_out(
    trial: Trial,
    *,
    seed: int,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    step: Callable[[str], None] | None = None,
) -> tuple[Deal, ...]:
    """Predict every arm in every row from other recipients, once a repeat.

    Args:
        step: Told what is being done, for a person who waits.

    Raises:
        PolicyLogError: There are fewer recipients than folds, or fewer than 3 folds.
    """
    logged, k = trial.logged, len(trial.arms)
    deals = []
    for repeat in range(repeats):
        if step is not None:
            step(f"fitting outcomes on {len(logged):,} rows, {repeat + 1} of {repeats}")
        own = seed + repeat
        q = cross_fit(logged, trial.context, n_actions=k, seed=own, folds=folds, **_TREES)
        fold = folds_of(logged.codes, logged.n_groups, folds=folds, seed=own)
        deals.append(Deal(q, fold))
    return tuple(deals)


def choose(trial: Trial, deals: tuple[Deal, ...]) -> Choice:
    """Value every arm and the personal policy, and apply the rule."""
    k = len(trial.arms)
    everybody = [[np.full(len(trial.logged), arm)] * len(deals) for arm in range(k)]
    personal = [deal.personal for deal in deals]
    values = tuple(_value(trial, deals, arm) for arm in everybody)
    counts = np.bincount(np.concatenate(personal), minlength=k)
    return Choice(
        arms=trial.arms,
        values=values,
        best=int(np.argmax([value.value for value in values])),
        personal=_value(trial, deals, personal),
        gains=tuple(_value(trial, deals, personal, arm) for arm in everybody),
        shares=tuple(map(float, counts / counts.sum())),
    )


def effect_of(trial: Trial, deals: tuple[Deal, ...], arm: int, control: int) -> Measured:
    """What an arm adds to a control arm when everybody gets it; doubly robust."""
    n = len(trial.logged)
    arms, controls = ([np.full(n, number)] * len(deals) for number in (arm, control))
    return _value(trial, deals, arms, controls)


def qini_of(
    trial: Trial, deals: tuple[Deal, ...], arm: int, control: int, *, seed: int
) -> Measured:
    """Qini of ranking by predicted uplift of an arm over a control, never by the own models."""
    rows = np.isin(trial.logged.action, (arm, control))
    ranked = [
        Ranked(
            rank_within(deal.q[rows, arm] - deal.q[rows, control], deal.fold[rows]),
            trial.logged.action[rows] == arm,
            trial.logged.reward[rows],
        )
        for deal in deals
    ]
    weight = 1 / trial.logged.propensity[rows]
    return qini_interval(ranked, weight, trial.logged.codes[rows], seed=seed)


def _value(
    trial: Trial, deals: tuple[Deal, ...], policies: list[Ints], less: list[Ints] | None = None
) -> Measured:
    """Doubly robust value of a policy a deal, alone or less that of another, paired by row."""
    logged = trial.logged
    rows = np.arange(len(logged))
    each, mass, pull, residual = np.zeros((4, len(logged)))
    for number, deal in enumerate(deals):
        left = logged.reward - deal.q[rows, logged.action]
        taken = (policies[number] == logged.action) / logged.propensity
        against = np.zeros(len(rows))
        base = np.zeros(len(rows))
        if less is not None:
            against = (less[number] == logged.action) / logged.propensity
            base = deal.q[rows, less[number]]
        each += deal.q[rows, policies[number]] - base + (taken - against) * left
        mass += taken
        pull += taken - against
        residual += left
    each, mass, pull, residual = (column / len(deals) for column in (each, mass, pull, residual))
    value = float(each.mean())
    unseen = unseen_row(mass, pull, residual)
    influence = (each - value) / len(each)
    return moments(value, influence, logged.codes, logged.n_groups, unseen=unseen).interval()
