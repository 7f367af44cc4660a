"""What may change all at once in a simulated world: for monitors that should notice."""

from dataclasses import dataclass

import numpy as np

from features.events.world import World
from features.events.world_catalogue import match_of
from features.events.world_moods import Moods


@dataclass(frozen=True, slots=True)
class Shift:
    """A change that everybody lives through from one week on.

    Args:
        at: Microseconds; the first week that begins then or later is another one.
        tastes: Whether everybody gets somebody else's taste.
        prefetching: Share of the people whose mail client begins to open everything.
        clock_h: Hours by which everybody lives later, while the zones they told stay.
    """

    at: int
    tastes: bool = False
    prefetching: float = 0.0
    clock_h: int = 0

    def change(self, world: World, moods: Moods, rng: np.random.Generator) -> None:
        """Let it happen."""
        n = len(moods.energy)
        if self.tastes:
            moods.taste = moods.taste[rng.permutation(n)]
            moods.match = match_of(moods.taste, world.catalogue)
        if self.prefetching:
            world.recipients.is_machine_open[rng.random(n) < self.prefetching] = True
        if self.clock_h:
            moods.rhythm = np.roll(moods.rhythm, self.clock_h, axis=1)
            moods.visit_rhythm = np.roll(moods.visit_rhythm, self.clock_h, axis=1)
