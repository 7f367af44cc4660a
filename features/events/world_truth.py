"""What is true of a simulated world, for holding models to it; no sender knows any of it."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from features.events import world_chances as chance
from features.events.schema import HOUR_US
from features.events.world import World
from features.events.world_clock import WEEK_US, Array
from features.events.world_moods import Moods
from features.events.world_policy import DEFAULT_HOUR

_FUTURES: Final = 200  # courses of fading and coming back that a chance of silence is a mean of
_A_WEEK_H: Final = 168


@dataclass(frozen=True, slots=True, eq=False)
class Week:
    """How everybody was when a week began (microseconds), one row per recipient each."""

    begin: int
    energy: Array
    is_fading: Array
    fatigue: Array

    @classmethod
    def of(cls, begin: int, moods: Moods) -> Self:
        """The moods of this moment, kept."""
        return cls(begin, moods.energy.copy(), moods.is_fading.copy(), moods.fatigue.copy())


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """Chances in one world; recipients and items are numbers, moments microseconds.

    Args:
        moods: At the end of the world.
        weeks: The moods that change quickly at the begin of every week, and at the end.
    """

    world: World
    moods: Moods
    weeks: tuple[Week, ...]

    def p_opened(self, to: Array, at: Array, *, within_h: int = 24) -> Array:
        """P(a person opens a mail of no particular item within some hours of its delivery).

        Args:
            at: Moments of delivery after the end of the world, shape (n, k).
        """
        interest = chance.wants(self.world, self.moods, to, None)
        seen = [chance.noticed(self.world, self.moods, to, each, within_h) for each in at.T]
        return np.asarray(interest[:, None] * np.stack(seen, axis=1))

    def p_clicked(self, to: Array, items: Array, at: Array) -> Array:
        """P(click within a week) of each of these items in a mail delivered at `at` (n,).

        Returns:
            Shape (n, n_items).
        """
        seen = chance.noticed(self.world, self.moods, to, at, _A_WEEK_H)
        columns = []
        for item in items:
            same = np.full(len(to), item)
            wants = chance.wants(self.world, self.moods, to, same)
            columns.append(wants * seen * chance.clicks(self.world, self.moods, to, same))
        return np.stack(columns, axis=1)

    def p_silent(self, to: Array, *, at: int, days: float, seed: int) -> Array:
        """P(no engagement that is recorded as a person's in some days, or opting out), shape (n,).

        From how a person is when the week of `at` begins, which no sender knows: the best that
        any model could do. Mail goes on as the sender of the logs sends it.
        """
        week = max((w for w in self.weeks if w.begin <= at), key=lambda w: w.begin)
        p, rng = self.world.parameters, np.random.default_rng(seed)
        n_weeks, n = max(1, round(days / 7)), len(to)
        energy = np.tile(week.energy[to], (_FUTURES, 1))
        fading = np.tile(week.is_fading[to], (_FUTURES, 1))
        hazard = p.churn_per_week * np.exp(0.3 * (week.fatigue[to] - 2))
        answers, leaves = self._per_mail(to, week)
        mails = len(self.world.send_days) * p.audience_share * (1 - p.bounce_rate)
        log_silent = np.zeros((_FUTURES, n))
        log_stays = np.zeros((_FUTURES, n))
        for number in range(n_weeks):
            if number:
                fading |= rng.random((_FUTURES, n)) < hazard
                fading &= rng.random((_FUTURES, n)) >= p.return_per_week
                energy = np.where(fading, energy * p.fading_per_week, 1.0)
            log_silent -= self.world.recipients.visit_rate[to] * energy
            log_silent += mails * np.log1p(-answers * energy)
            log_stays += mails * np.log1p(-leaves * (2 - energy))
        silent, stays = np.exp(log_silent), np.exp(log_stays)
        return np.asarray((1 - (1 - silent) * stays).mean(axis=0))

    def _per_mail(self, to: Array, week: Week) -> tuple[Array, Array]:
        """P(recorded answer to a mail | full energy), and P(opting out by it) but for energy."""
        world, people, p = self.world, self.world.recipients, self.world.parameters
        last = self.weeks[-1].begin
        day = world.clock.utc_of(world.sender_zone, np.array([last // WEEK_US * WEEK_US]))
        at = np.full(len(to), int(day[0]) + DEFAULT_HOUR * HOUR_US)
        seen = chance.noticed(world, self.moods, to, at, _A_WEEK_H)
        log_odds = people.open_bias[to] - people.fatigue[to] * week.fatigue[to]
        opened = chance.probability(log_odds) * seen
        clicked = opened * chance.clicks(world, self.moods, to, None)
        answers = np.where(people.is_machine_open[to], clicked, opened)
        leaves = (p.p_unsubscribe + p.p_complain) * (1 + week.fatigue[to]) / 3 * seen
        return answers, leaves
