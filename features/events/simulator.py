"""A population with known truth, as one more source of events.

It emits what a sender's webhooks and site tags would have emitted, machine opens included,
and keeps apart what no sender knows: rhythm, taste, who has left for good. A world is drawn
from its seed (`world`) and its weeks are lived (`world_life`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from features.events.world import World
from features.events.world_clock import Array
from features.events.world_events import write_ndjson
from features.events.world_life import Life
from features.events.world_moods import Moods
from features.events.world_parameters import Twists
from features.events.world_policy import Decide
from features.events.world_shift import Shift
from features.events.world_truth import Oracle, Week

__all__ = ["Simulated", "simulate", "write_ndjson"]

DORMANT_BELOW: Final = 0.1  # of full energy


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What a sender sees, and what is true.

    Args:
        events: By time; the columns of `EventLog.scan` less `offset`.
        truth: One row per recipient, see `truth_of`.
        oracle: Answers what would be likely, at the end and at the start of every week.
    """

    events: pl.DataFrame
    truth: pl.DataFrame
    oracle: Oracle


def simulate(  # noqa: PLR0913  one call says all of a world
    *,
    seed: int,
    n_recipients: int,
    weeks: int,
    ends_at: int,
    twists: Twists | None = None,
    decide: Decide | None = None,
    shift: Shift | None = None,
) -> Simulated:
    """Live the weeks before `ends_at` (microseconds), where the newest event lies.

    The same arguments give the same events, ids included. Other arguments give other ids of
    events and sends, so that two worlds fit into one log; recipient keys differ with the seed.

    Args:
        twists: How the world departs from what models assume; None is not at all.
        decide: Takes the place of the sender of the logs.
        shift: What changes on the way; the events before it are those of the world without.
    """
    life = Life.begun(
        seed=seed,
        n_recipients=n_recipients,
        weeks=weeks,
        ends_at=ends_at,
        twists=twists,
        decide=decide,
        shift=shift,
    )
    while life.at < ends_at:
        life.live_a_week()
    world, moods = life.living.world, life.living.moods
    weeks_lived = (*life.lived, Week.of(ends_at, moods))
    truth = truth_of(world, moods, life.keys, ends_at=ends_at)
    return Simulated(life.events(before=ends_at), truth, Oracle(world, moods, weeks_lived))


def truth_of(world: World, moods: Moods, keys: list[str], *, ends_at: int) -> pl.DataFrame:
    """What no sender knows, one row per recipient.

    `rhythm` is the relative attention in each local hour of the week (Monday 00 first, mean 1),
    `archetypes` and `taste` are shares in the order of `world.ARCHETYPES` and
    `world_catalogue.TOPICS`; rhythm and taste are those at the end;
    `energy` is what is left of the engagement at the end, `is_dormant` that it is below a tenth.
    """
    people = world.recipients
    stopped = moods.stopped_at < ends_at
    return pl.DataFrame(
        {
            "recipient_key": keys,
            "timezone": [world.clock.zones[zone] for zone in people.zone],
            "is_zone_known": people.is_zone_known,
            "is_machine_open": people.is_machine_open,
            "is_scanned": people.is_scanned,
            "is_sweeper": people.sweeps.any(axis=1),
            "signed_up_at": people.signed_up_at,
            "stopped_at": pl.Series(np.where(stopped, moods.stopped_at, 0)).replace(0, None),
            "energy": moods.energy,
            "is_dormant": moods.energy < DORMANT_BELOW,
            "checks_per_day": people.check_rate * 24,
            "open_bias": people.open_bias,
            "click_bias": people.click_bias,
            "archetypes": _rows(people.archetypes),
            "taste": _rows(moods.taste),
            "rhythm": _rows(moods.rhythm),
        }
    )


def _rows(values: Array) -> pl.Series:
    return pl.Series(values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))
