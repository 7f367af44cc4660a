"""When is a person active? Hour-of-week activity shrunk global -> latent cohort -> person.

Each level borrows from the one above: the cohort mixture gives a prior for the whole week,
then hour of day, weekday and finally the single hour are drawn towards it. A raw histogram
loses 1.5 nats per event to the global week on real people; this gains.

Cohorts are weeks on local clocks. Whose clock is unknown has hours of UTC counted, and is
compared with every cohort at every offset that people of the log live at.

Source of the comparison: five activity data sets (commits, baskets, three mail networks).
Failure mode: fewer than three events say almost nothing; the answer is then the cohort's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.spec import HOURS_PER_WEEK
from training.clocks import UTC_ONLY

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Offsets = tuple[tuple[int, ...], Floats]  # hours ahead of UTC, and the share of people there

HOUR: Final = np.arange(HOURS_PER_WEEK) % 24
DAY: Final = np.arange(HOURS_PER_WEEK) // 24
TO_HOUR: Final = (HOUR[:, None] == np.arange(24)).astype(float)  # (168, 24)
TO_DAY: Final = (DAY[:, None] == np.arange(7)).astype(float)  # (168, 7)
_KERNEL: Final = {-2: 0.06, -1: 0.24, 0: 0.40, 1: 0.24, 2: 0.06}
SMOOTH: Final = np.sum(
    [w * np.roll(np.eye(HOURS_PER_WEEK), k, axis=1) for k, w in _KERNEL.items()], axis=0
)
TEMPER: Final = 0.5  # one person's events are alike: half their likelihood picks the cohort
MOST: Final = 100.0  # events after which no more is learnt of the cohort; keeps float32 exact
FLOOR: Final = 1e-9
NEVER: Final = -1e6  # log share of a week that a person cannot have; beyond any likelihood
MIN_LOCAL: Final = 200  # people-weeks on local clocks, below which cohorts are learnt in UTC
_ROUNDS: Final = 50


@dataclass(frozen=True, slots=True)
class Past:
    """People's past weeks.

    Args:
        counts: Shape (n, 168), by hour of the week.
        is_local: Whether on the person's own clock, or else on that of UTC; shape (n,).
    """

    counts: Floats
    is_local: Flags

    @classmethod
    def local(cls, counts: Floats) -> Self:
        """Weeks of people whose clocks are all known."""
        return cls(counts, np.ones(len(counts), np.bool_))

    def part(self, rows: Flags) -> "Past":
        """Some of the people."""
        return Past(self.counts[rows], self.is_local[rows])


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Parameters of the shrinkage.

    Args:
        cohorts: Shape (k, 168), each a distribution over the week.
        shares: Shape (k,), how common each cohort is.
        by_hour, by_day, by_slot: Events that the level above is worth.
        offsets: Hours ahead of UTC where people of unknown clocks may live.
        offset_shares: How many of them do, shape (len(offsets),).
    """

    cohorts: Floats
    shares: Floats
    by_hour: float
    by_day: float
    by_slot: float
    offsets: tuple[int, ...] = UTC_ONLY
    offset_shares: Floats = field(default_factory=lambda: np.ones(1))

    @property
    def weeks(self) -> Floats:
        """What is likely: the cohorts, then each offset's cohorts in UTC, (k + k o, 168)."""
        elsewhere = [np.roll(self.cohorts, -ahead, axis=1) for ahead in self.offsets]
        return np.concatenate([self.cohorts, *elsewhere])

    @property
    def log_shares(self) -> tuple[Floats, Floats]:
        """Of each of `weeks` for people with a known clock and for those without."""
        logs = np.log(self.shares)
        pairs = (np.log(self.offset_shares)[:, None] + logs).ravel()
        never = np.full(len(pairs), NEVER)
        return np.r_[logs, never], np.r_[np.full(len(logs), NEVER), pairs]

    def cohorts_of(self, past: Past) -> Floats:
        """How likely each of `weeks` is each person's own, shape (n, k + k o)."""
        known, unknown = self.log_shares
        heard = MOST / np.maximum(past.counts.sum(axis=1, keepdims=True), MOST)
        logits = TEMPER * heard * (past.counts @ np.log(self.weeks).T)
        return np.asarray(softmax(logits + np.where(past.is_local[:, None], known, unknown), 1))

    def prior(self, past: Past) -> Floats:
        """The mixture of cohorts that people's counts point to, shape (n, 168)."""
        return np.asarray(self.cohorts_of(past) @ self.weeks)

    def activity(self, past: Past) -> Floats:
        """Share of the week's activity in each hour, shape (n, 168), rows sum to one."""
        return self.shrink(past.counts, self.prior(past))

    def shrink(self, counts: Floats, prior: Floats) -> Floats:
        """Draw counts (n, 168) towards a prior of the same shape, level by level."""
        smooth = counts @ SMOOTH
        n = counts.sum(axis=1, keepdims=True)
        hours = prior @ TO_HOUR
        own = (smooth @ TO_HOUR + self.by_hour * hours) / (n + self.by_hour)
        first = _normal(prior * ((own / hours) @ TO_HOUR.T))
        days = first @ TO_DAY
        own = (counts @ TO_DAY + self.by_day * days) / (n + self.by_day)
        second = _normal(first * ((own / days) @ TO_DAY.T))
        return np.asarray((smooth + self.by_slot * second) / (n + self.by_slot))


def fit_rhythm(
    train: Past,
    validation: tuple[Past, Floats],
    *,
    seed: int,
    cohorts: Sequence[int],
    offsets: Offsets | None = None,
) -> Rhythm:
    """Fit cohorts by EM and pick the strengths by held-out likelihood.

    Where some clocks are unknown, cohorts of those that are known with offsets are held against
    cohorts of all weeks as they stand: a sender with few known clocks loses nothing by them.

    Args:
        train: People's past weeks.
        validation: Past weeks of other snapshots, and later counts of theirs, shape (m, 168).
        cohorts: Numbers of cohorts to try; one means the global week alone.
        offsets: Where people of known clocks live; UTC alone when None.
    """
    offsets = offsets or (UTC_ONLY, np.ones(1))
    local = train.part(train.is_local)
    tried = []
    if not train.is_local.all():
        tried += _strengths(_bases(train, cohorts, seed, None), validation)
    if train.is_local.all() or len(local.counts) >= MIN_LOCAL:
        tried += _strengths(_bases(train, cohorts, seed, offsets), validation)
    if not tried:
        raise ValueError("no number of cohorts to try")
    return max(tried, key=lambda pair: pair[0])[1]


def _bases(train: Past, cohorts: Sequence[int], seed: int, offsets: Offsets | None) -> list[Rhythm]:
    """Rhythms of each number of cohorts, in one clock for all or in local clocks and offsets."""
    counts = train.counts if offsets is None else train.counts[train.is_local]
    bases = []
    for k in cohorts:
        base = Rhythm(*_mixture(counts, k, seed=seed), 16.0, 60.0, 400.0)
        if offsets is not None:
            base = replace(base, offsets=offsets[0], offset_shares=offsets[1])
            base = _settled(base, train.part(~train.is_local))
        bases.append(base)
    return bases


def _settled(rhythm: Rhythm, elsewhere: Past) -> Rhythm:
    """The offsets' shares among people of unknown clocks, by EM from those of the others."""
    if not len(elsewhere.counts):
        return rhythm
    k, told = len(rhythm.shares), rhythm.offset_shares
    for _ in range(_ROUNDS // 5):
        weights = rhythm.cohorts_of(elsewhere)[:, k:].reshape(len(elsewhere.counts), -1, k)
        found = weights.sum(axis=(0, 2)) + MIN_LOCAL / 10 * told
        rhythm = replace(rhythm, offset_shares=found / found.sum())
    return rhythm


def _strengths(
    bases: Sequence[Rhythm], validation: tuple[Past, Floats]
) -> list[tuple[float, Rhythm]]:
    past, later = validation
    tried = []
    for base in bases:
        prior = base.prior(past)
        for by_hour, by_day, by_slot in product((4, 16, 48), (15, 60, 240), (60, 400, 1500)):
            one = replace(base, by_hour=by_hour, by_day=by_day, by_slot=by_slot)
            score = float(log_likelihood(one.shrink(past.counts, prior), later).mean())
            tried.append((score, one))
    return tried


def global_week(counts: Floats) -> Floats:
    """The mean week over people, shape (168,): each person weighs the same."""
    week = _normal(counts + FLOOR).mean(axis=0)
    return np.asarray(0.999 * week + 0.001 / HOURS_PER_WEEK)


def log_likelihood(activity: Floats, later: Floats) -> Floats:
    """Mean log share of a person's later events, shape (n,), in nats per event."""
    logs = np.log(np.maximum(activity, 1e-12))
    return np.asarray((later * logs).sum(axis=1) / later.sum(axis=1))


def hits(activity: Floats, later: Floats, *, top: int = 3) -> Floats:
    """Share of a person's later events in the best hours of the day, shape (n,)."""
    ties = np.random.default_rng(0).random((len(activity), 24)) * 1e-12
    best = np.argsort(-(activity @ TO_HOUR) + ties, axis=1)[:, :top]
    hours = later @ TO_HOUR
    return np.asarray(np.take_along_axis(hours, best, 1).sum(axis=1) / hours.sum(axis=1))


def picked(score: Callable[[float], Floats], later: Floats, grid: Sequence[float]) -> float:
    """The strength of a simple baseline that does best on held-out people."""
    return max(grid, key=lambda strength: float(log_likelihood(score(strength), later).mean()))


def _mixture(counts: Floats, k: int, *, seed: int, rounds: int = _ROUNDS) -> tuple[Floats, Floats]:
    base = _normal(counts.sum(axis=0, keepdims=True) + 1.0)
    if k == 1:
        return global_week(counts)[None, :], np.ones(1)
    rng = np.random.default_rng(seed)
    weeks = _normal(base * rng.gamma(2.0, 0.5, (k, HOURS_PER_WEEK)) + 1e-6)
    shares = np.full(k, 1.0 / k)
    strength = 0.05 * counts.sum() / k / 10.0
    for _ in range(rounds):
        logits = TEMPER * counts @ np.log(weeks).T + np.log(shares)
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        weights /= weights.sum(axis=1, keepdims=True)
        weeks = _normal((weights.T @ counts) @ SMOOTH + strength * base + 1e-6)
        shares = weights.mean(axis=0) + 1e-6
    return weeks, shares / shares.sum()


def _normal(rows: Floats) -> Floats:
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))
