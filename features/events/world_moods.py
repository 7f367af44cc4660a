"""What changes in the people of a simulated world from week to week."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from features.events.world import World
from features.events.world_catalogue import TOPICS, match_of
from features.events.world_clock import Array

NEVER: Final = np.iinfo(np.int64).max
NO_HOUR: Final = -1
_FATIGUE_HALF_LIFE_DAYS: Final = 7.0
_WEEKS_PER_QUARTER: Final = 13.0


@dataclass(slots=True, eq=False)
class Moods:
    """One row per recipient.

    Args:
        energy: 1 for who is fully there; fades to 0 over weeks in who is about to leave.
        fatigue: Mails of late, decayed.
        stopped_at: When mail was unsubscribed or complained about, else the end of time.
        rhythm, visit_rhythm: Shape (n, 168), as `Recipients` has them at first.
        taste, match: Shape (n, n_topics), and (n, n_items) from it.
        open_hour: Hour of the day, on the sender's clock, of the last recorded open, whoever
            made it; NO_HOUR before the first.
        heard_at: When anything was last recorded of them but a send; for new ones the sign-up.
    """

    energy: Array
    is_fading: Array
    fatigue: Array
    stopped_at: Array
    rhythm: Array
    visit_rhythm: Array
    taste: Array
    match: Array
    open_hour: Array
    heard_at: Array

    @classmethod
    def at_begin(cls, world: World, rng: np.random.Generator, begin: int) -> Self:
        """Some who came before the span are asleep already."""
        people = world.recipients
        n = len(people.zone)
        asleep = (rng.random(n) < world.parameters.dormant_share) & (people.signed_up_at < begin)
        return cls(
            energy=np.where(asleep, 0.02, 1.0),
            is_fading=asleep,
            fatigue=np.full(n, 2.0),
            stopped_at=np.full(n, NEVER),
            rhythm=people.rhythm,
            visit_rhythm=people.visit_rhythm,
            taste=people.taste,
            match=match_of(people.taste, world.catalogue),
            open_hour=np.full(n, NO_HOUR),
            heard_at=np.maximum(people.signed_up_at, begin),
        )

    def live_a_week(self, world: World, rng: np.random.Generator, begin: int) -> None:
        """Some begin to fade, the more so under much mail; some come back at once."""
        p, n = world.parameters, len(self.energy)
        hazard = p.churn_per_week * np.exp(0.3 * (self.fatigue - 2))
        self.is_fading = self.is_fading | (
            (rng.random(n) < hazard) & (world.recipients.signed_up_at < begin)
        )
        self.is_fading = self.is_fading & (rng.random(n) >= p.return_per_week)
        self.energy = np.where(self.is_fading, self.energy * p.fading_per_week, 1.0)
        self._change(world, rng)

    def wear(self, recipient: Array, *, days: float) -> None:
        """One more mail to these, `days` after the send before."""
        self.fatigue = self.fatigue * 0.5 ** (days / _FATIGUE_HALF_LIFE_DAYS)
        self.fatigue[recipient] += 1

    def stop(self, recipient: Array, at: Array) -> None:
        """Take no mail after `at`, unless stopped earlier already."""
        np.minimum.at(self.stopped_at, recipient, at)

    def hear(self, recipient: Array, at: Array) -> None:
        """Something of these was recorded."""
        np.maximum.at(self.heard_at, recipient, at)

    def _change(self, world: World, rng: np.random.Generator) -> None:
        """Tastes drift, and a few get another rhythm: a new job, shift or season."""
        p, n = world.parameters, len(self.energy)
        noise = rng.normal(0, p.taste_drift, (n, len(TOPICS)))
        drifted = self.taste * np.exp(noise)
        self.taste = drifted / drifted.sum(axis=1, keepdims=True)
        self.match = match_of(self.taste, world.catalogue)
        moved = np.flatnonzero(rng.random(n) < p.new_rhythm_per_quarter / _WEEKS_PER_QUARTER)
        source = rng.integers(0, n, len(moved))
        if len(moved):
            was = world.recipients
            self.rhythm, self.visit_rhythm = self.rhythm.copy(), self.visit_rhythm.copy()
            self.rhythm[moved] = was.rhythm[source]
            self.visit_rhythm[moved] = was.visit_rhythm[source]
