"""Visits to the sender's site in a simulated world: from browsing to buying."""

from typing import Final

import numpy as np

from features.events.schema import HOUR_US, SECOND_US
from features.events.schema import EventType as E
from features.events.world import hours_until
from features.events.world_clock import WEEK_HOURS, Array
from features.events.world_events import NONE
from features.events.world_living import Living

_TASTE_GAIN: Final = 1.0  # how much more often a person looks at what they like
_P_ANOTHER: Final = 0.4
_P_CHECKOUT: Final = 0.6
_P_PURCHASE: Final = 0.7


def organic_visits(living: Living, *, begin: int) -> tuple[Array, Array]:
    """Who comes by without a mail in the week from `begin`, and when."""
    world, energy, rng = living.world, living.moods.energy, living.rng
    people = world.recipients
    visitor = np.repeat(np.arange(len(energy)), rng.poisson(people.visit_rate * energy))
    slots = world.clock.slots_from(people.zone[visitor], np.full(len(visitor), begin), WEEK_HOURS)
    weights = living.moods.visit_rhythm[visitor[:, None], slots]
    hours = hours_until(weights, rng.random(len(visitor)) * weights.sum(axis=1) * 0.9999)
    at = begin // HOUR_US * HOUR_US + (hours * HOUR_US).astype(np.int64)
    after = (at > people.signed_up_at[visitor]) & (at >= begin)
    return visitor[after], at[after]


def visit(living: Living, visitor: Array, at: Array, *, entry: Array | None = None) -> None:
    """Record one visit per row: pages, products, and for few a cart and an order.

    Args:
        entry: The item whose page each visit begins at; without it, the front page.
    """
    n = len(visitor)
    if n == 0:
        return
    world, events, rng, match = living.world, living.events, living.rng, living.moods.match
    at = at + _seconds(rng, 2, n)
    events.add(E.PAGE_VIEWED, visitor, at, item=NONE if entry is None else entry)
    item = _liked(living, visitor, at) if entry is None else entry
    at = at + _seconds(rng, 20, n)
    events.add(E.PRODUCT_VIEWED, visitor, at, item=item)

    more = np.flatnonzero(rng.random(n) < _P_ANOTHER)
    another = _liked(living, visitor[more], at[more])
    at[more] += _seconds(rng, 60, len(more))
    events.add(E.PAGE_VIEWED, visitor[more], at[more])
    at[more] += _seconds(rng, 30, len(more))
    events.add(E.PRODUCT_VIEWED, visitor[more], at[more], item=another)

    log_odds = world.parameters.cart_logit + 0.5 * match[visitor, item]
    rows = np.flatnonzero(rng.random(n) < 1 / (1 + np.exp(-log_odds)))
    for kind, p_next in ((E.CART_ADDED, _P_CHECKOUT), (E.CHECKOUT_STARTED, _P_PURCHASE)):
        at[rows] += _seconds(rng, 120, len(rows))
        events.add(kind, visitor[rows], at[rows], item=item[rows])
        rows = rows[rng.random(len(rows)) < p_next]
    at[rows] += _seconds(rng, 120, len(rows))
    pieces = 1 + rng.poisson(0.3, len(rows))
    value = np.round(world.catalogue.price[item[rows]] * pieces, 2)
    events.add(E.PURCHASED, visitor[rows], at[rows], item=item[rows], value=value)


def _liked(living: Living, visitor: Array, at: Array) -> Array:
    """One item per visit, those of one's taste more often, out of what is published."""
    if len(visitor) == 0:
        return np.empty(0, np.int64)
    catalogue = living.world.catalogue
    n = catalogue.n_published(int(at.min()))
    lots = living.rng.gumbel(size=(len(visitor), n)).astype(np.float32)
    liking = _TASTE_GAIN * living.moods.match[visitor, :n] + catalogue.appeal[:n]
    return np.asarray(np.argmax(liking + lots, axis=1))


def _seconds(rng: np.random.Generator, mean: float, n: int) -> Array:
    return np.asarray(((1 + rng.exponential(mean, n)) * SECOND_US).astype(np.int64))
