"""A simulated world while it is lived, week by week."""

from dataclasses import dataclass

import numpy as np

from features.events.world import World
from features.events.world_events import WorldEvents
from features.events.world_moods import Moods
from features.events.world_policy import Decide


@dataclass(slots=True, eq=False)
class Living:
    """Who is in which mood, what was recorded so far, the dice, and who decides on mails.

    Args:
        decide: None for the policy of the logs.
    """

    world: World
    moods: Moods
    events: WorldEvents
    rng: np.random.Generator
    decide: Decide | None = None
