"""Who decides what is sent when in a simulated world: the sender of the logs, or a service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.events.world import World
from features.events.world_clock import Array
from features.events.world_moods import NO_HOUR, Moods

DEFAULT_HOUR: Final = 10  # the hour that the marketer always took, on the sender's clock


@dataclass(frozen=True, slots=True, eq=False)
class Sending:
    """One send before anything is decided.

    Args:
        number: Of the send, from 0.
        day: Midnight of the day on the sender's clock, as microseconds of that clock.
        starts_at: The same moment in UTC, microseconds.
        recipient: Numbers of who may get it, shape (n,).
        candidates: Numbers of the items to choose from.
    """

    number: int
    day: int
    starts_at: int
    recipient: Array
    candidates: Array


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What was decided for each recipient of a send, and how likely that was; shape (n,) each.

    Args:
        hour: 0 to 23, hours after `starts_at`.
        item: One of the candidates.
        is_held: Whether nothing is sent.
    """

    hour: Array
    item: Array
    p_hour: Array
    p_item: Array
    is_held: Array


Decide = Callable[[Sending, np.random.Generator], Choice]


def as_logged(world: World, moods: Moods, sending: Sending, rng: np.random.Generator) -> Choice:
    """The policy of the logs: mostly the default hour, one of the items by lot.

    Some get the hour of their last recorded open, a machine's as likely as not; some any hour.
    """
    p, to = world.parameters, sending.recipient
    n = len(to)
    open_hour = moods.open_hour[to]
    legacy = np.where(open_hour == NO_HOUR, 0.0, p.legacy_hour_share)
    lot = rng.random(n)
    hour = np.full(n, DEFAULT_HOUR)
    is_random = lot < p.random_hour_share
    is_legacy = ~is_random & (lot < p.random_hour_share + legacy)
    hour[is_random] = rng.integers(0, 24, int(is_random.sum()))
    hour[is_legacy] = open_hour[is_legacy]
    p_hour = np.full(n, p.random_hour_share / 24)
    p_hour += np.where(hour == open_hour, legacy, 0.0)
    p_hour += np.where(hour == DEFAULT_HOUR, 1 - p.random_hour_share - legacy, 0.0)
    item = rng.choice(sending.candidates, n)
    p_item = np.full(n, 1 / len(sending.candidates))
    return Choice(hour, item, p_hour, p_item, np.zeros(n, np.bool_))
