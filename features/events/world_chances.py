"""What is likely in a simulated world: the one place where its probabilities stand.

The weeks are lived by drawing from them; the truth that models are held to is read from them.
"""

from typing import Final

import numpy as np

from features.events.world import World
from features.events.world_clock import Array
from features.events.world_moods import Moods

_SWEPT: Final = -np.log(0.3)  # seven in ten sweeps of the inbox take place


def wants(world: World, moods: Moods, to: Array, item: Array | None, effect: float = 0.0) -> Array:
    """P(the mail would be opened once noticed), per recipient number.

    Args:
        item: Numbers of the items in the mails, of the shape of `to`; None for one that nobody
            likes or dislikes.
        effect: What this mail adds to everybody's log-odds.
    """
    p, people = world.parameters, world.recipients
    log_odds = people.open_bias[to] + effect - people.fatigue[to] * moods.fatigue[to]
    if item is not None:
        log_odds = log_odds + p.topic_gain * moods.match[to, item] + world.catalogue.appeal[item]
    return np.asarray(moods.energy[to] * probability(log_odds))


def clicks(world: World, moods: Moods, to: Array, item: Array | None) -> Array:
    """P(click | opened)."""
    log_odds = world.recipients.click_bias[to]
    if item is not None:
        log_odds = log_odds + world.parameters.click_gain * moods.match[to, item]
    return probability(log_odds)


def weariness(moods: Moods, to: Array) -> Array:
    """By how much the chances of opting out and of complaining grow with mail."""
    return np.asarray((1 + moods.fatigue[to]) / 3 * (2 - moods.energy[to]))


def hazards(world: World, moods: Moods, to: Array, at: Array, n_hours: int) -> Array:
    """How likely a mail is noticed in each hour after its delivery, (n, n_hours), as a rate.

    Check rate x rhythm at the local hour x how visible a mail of that age is; for who sweeps the
    inbox, the hours of the sweeps alone.
    """
    p, people = world.parameters, world.recipients
    age = np.arange(n_hours)
    visible = (1 - p.slow_share) * np.exp(-age / p.sink_fast_h)
    visible += p.slow_share * np.exp(-age / p.sink_slow_h)
    visible[0] *= p.fresh
    slots = world.clock.slots_from(people.zone[to], at, n_hours)
    rate = moods.rhythm[to[:, None], slots] * visible.astype(np.float32)
    rate *= people.check_rate[to, None].astype(np.float32)
    swept = people.sweeps[to].any(axis=1)
    if swept.any():
        rate[swept] = people.sweeps[to[swept, None], slots[swept] % 24] * np.float32(_SWEPT)
    return np.asarray(rate)


def noticed(world: World, moods: Moods, to: Array, at: Array, n_hours: int) -> Array:
    """P(a mail delivered at a moment is noticed within some hours), shape of `to`."""
    return np.asarray(-np.expm1(-hazards(world, moods, to, at, n_hours).sum(axis=1)))


def probability(log_odds: Array) -> Array:
    """The logistic function."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))
