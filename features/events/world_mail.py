"""One send of a simulated world: who gets which item when, and what each person does with it."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.events.schema import HOUR_US, SECOND_US, Actor
from features.events.schema import EventType as E
from features.events.world import World, hours_until
from features.events.world_clock import WEEK_HOURS, Array
from features.events.world_events import PROPENSITIES, WorldEvents, actor_number

DEFAULT_HOUR: Final = 10  # the hour that the marketer always took, on the sender's clock
N_CANDIDATES: Final = 6
_N_RECENT: Final = 18  # candidates are drawn from the newest items
_FATIGUE_HALF_LIFE_DAYS: Final = 7.0
_MINUTE_H: Final = 1 / 60
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(slots=True, eq=False)
class Moods:
    """What changes from week to week, one row per recipient.

    Args:
        energy: 1 for who is fully there; fades to 0 over weeks in who is about to leave.
        fatigue: Mails of late, decayed.
        stopped_at: When mail was unsubscribed or complained about, else the end of time.
    """

    energy: Array
    is_fading: Array
    fatigue: Array
    stopped_at: Array

    @classmethod
    def at_begin(cls, world: World, rng: np.random.Generator, begin: int) -> "Moods":
        """Some who came before the span are asleep already."""
        n = len(world.recipients.zone)
        asleep = (rng.random(n) < world.parameters.dormant_share) & (
            world.recipients.signed_up_at < begin
        )
        return cls(
            energy=np.where(asleep, 0.02, 1.0),
            is_fading=asleep,
            fatigue=np.full(n, 2.0),
            stopped_at=np.full(n, _NEVER),
        )

    def live_a_week(self, world: World, rng: np.random.Generator, begin: int) -> None:
        """Some begin to fade, the more so under much mail; some come back at once."""
        p, n = world.parameters, len(self.energy)
        hazard = p.churn_per_week * np.exp(0.3 * (self.fatigue - 2))
        self.is_fading |= (rng.random(n) < hazard) & (world.recipients.signed_up_at < begin)
        self.is_fading &= rng.random(n) >= p.return_per_week
        self.energy = np.where(self.is_fading, self.energy * p.fading_per_week, 1.0)

    def wear(self, recipient: Array, *, days: float) -> None:
        """One more mail to these, `days` after the send before."""
        self.fatigue *= 0.5 ** (days / _FATIGUE_HALF_LIFE_DAYS)
        self.fatigue[recipient] += 1

    def stop(self, recipient: Array, at: Array) -> None:
        """Take no mail after `at`, unless stopped earlier already."""
        np.minimum.at(self.stopped_at, recipient, at)


@dataclass(frozen=True, slots=True, eq=False)
class Mailed:
    """The mails of one send that reached an inbox, one row each."""

    send: int
    recipient: Array
    item: Array
    delivered_at: Array
    match: Array = field(repr=False)

    def at(self, rows: Array, hours: Array) -> Array:
        """The moment some hours after the delivery of these rows."""
        return self.delivered_at[rows] + 1 + (hours * HOUR_US).astype(np.int64)


def mail(
    world: World,
    moods: Moods,
    events: WorldEvents,
    rng: np.random.Generator,
    *,
    send: int,
    day: int,
) -> tuple[Array, Array, Array]:
    """Send to everybody subscribed and record what follows.

    Args:
        day: The day as microseconds of the sender's clock at its midnight.

    Returns:
        Recipient, item and moment of every click, for what follows on the site.
    """
    mailed = _deliver(world, moods, events, rng, send=send, day=day)
    p, people, to = world.parameters, world.recipients, mailed.recipient
    n = len(to)
    energy, fatigue = moods.energy[to], moods.fatigue[to]
    log_odds = people.open_bias[to] + p.topic_gain * mailed.match + rng.normal(0, 0.25)
    log_odds += world.catalogue.appeal[mailed.item] - people.fatigue[to] * fatigue
    wants = rng.random(n) < energy * _probability(log_odds)
    weary = (1 + fatigue) / 3 * (2 - energy)
    leaves = rng.random(n) < p.p_unsubscribe * weary
    complains = rng.random(n) < p.p_complain * weary

    rows = np.flatnonzero(wants | leaves | complains)
    hours = _noticed_after(world, mailed, rows, rng)
    seen = mailed.at(rows, np.where(np.isfinite(hours), hours, 0)) < moods.stopped_at[to[rows]]
    rows, hours = rows[np.isfinite(hours) & seen], hours[np.isfinite(hours) & seen]

    for kind, does in ((E.UNSUBSCRIBED, leaves), (E.COMPLAINED, complains)):
        of = does[rows]
        at = mailed.at(rows[of], hours[of] + rng.exponential(2 * _MINUTE_H, int(of.sum())))
        _record(events, kind, mailed, rows[of], at)
        moods.stop(to[rows[of]], at)

    opened, after = rows[wants[rows]], hours[wants[rows]]
    visible = ~people.is_machine_open[to[opened]]
    _record(events, E.OPENED, mailed, opened[visible], mailed.at(opened, after)[visible])
    _open_by_machine(world, mailed, events, rng)

    log_odds = people.click_bias[to[opened]] + p.click_gain * mailed.match[opened]
    clicks = rng.random(len(opened)) < _probability(log_odds)
    clicked = opened[clicks]
    at = mailed.at(clicked, after[clicks] + rng.exponential(3 * _MINUTE_H, len(clicked)))
    on_time = at < moods.stopped_at[to[clicked]]
    clicked, at = clicked[on_time], at[on_time]
    _record(events, E.CLICKED, mailed, clicked, at)
    return to[clicked], mailed.item[clicked], at


def _deliver(
    world: World,
    moods: Moods,
    events: WorldEvents,
    rng: np.random.Generator,
    *,
    send: int,
    day: int,
) -> Mailed:
    """The logging policy: mostly the default hour, now and then any; one of six items by lot."""
    p, people, n = world.parameters, world.recipients, len(world.recipients.zone)
    explored = rng.random(n) < p.random_hour_share
    hour = np.where(explored, rng.integers(0, 24, n), DEFAULT_HOUR)
    # A queue of ten minutes; nobody's place in it means anything.
    queued = (rng.random(n) * 600 * SECOND_US).astype(np.int64)
    sent_at = world.clock.utc_of(world.sender_zone, day + hour * HOUR_US) + queued
    published = world.catalogue.n_published(int(sent_at.min()))
    newest = np.arange(max(published - _N_RECENT, 0), published)
    candidates = rng.choice(newest, N_CANDIDATES, replace=False)
    item = rng.choice(candidates, n)
    in_audience = rng.random(n) < p.audience_share
    subscribed = (people.signed_up_at < sent_at) & (sent_at < moods.stopped_at)
    to = np.flatnonzero(in_audience & subscribed)

    any_hour = p.random_hour_share / 24
    logged = [
        events.properties(dict(zip(PROPENSITIES, (p_hour, 1 / N_CANDIDATES), strict=True)))
        for p_hour in (any_hour, 1 - p.random_hour_share + any_hour)
    ]
    propensities = np.where(hour[to] == DEFAULT_HOUR, logged[1], logged[0])
    events.add(E.SENT, to, sent_at[to], send=send, item=item[to], properties=propensities)
    arrived_at = sent_at[to] + ((1 + rng.exponential(4, len(to))) * SECOND_US).astype(np.int64)
    ok = rng.random(len(to)) >= p.bounce_rate
    events.add(E.BOUNCED, to[~ok], arrived_at[~ok], send=send, item=item[to[~ok]])
    events.add(E.DELIVERED, to[ok], arrived_at[ok], send=send, item=item[to[ok]])
    moods.wear(to, days=7 / len(world.send_days))
    to, arrived_at = to[ok], arrived_at[ok]
    return Mailed(send, to, item[to], arrived_at, world.match[to, item[to]])


def _noticed_after(world: World, mailed: Mailed, rows: Array, rng: np.random.Generator) -> Array:
    """Hours until the mail is noticed in the inbox, infinite if not within a week.

    The hazard is check rate x rhythm at the local hour x how visible a mail of that age is.
    """
    p, people, to = world.parameters, world.recipients, mailed.recipient[rows]
    age = np.arange(WEEK_HOURS)
    visible = (1 - p.slow_share) * np.exp(-age / p.sink_fast_h)
    visible += p.slow_share * np.exp(-age / p.sink_slow_h)
    visible[0] *= p.fresh
    slots = world.clock.slots_from(people.zone[to], mailed.delivered_at[rows], WEEK_HOURS)
    hazard = people.rhythm[to[:, None], slots] * visible.astype(np.float32)
    return hours_until(hazard, rng.exponential(1, len(rows)) / people.check_rate[to])


def _open_by_machine(
    world: World, mailed: Mailed, events: WorldEvents, rng: np.random.Generator
) -> None:
    """Image prefetching: soon after delivery, whatever the person does."""
    p = world.parameters
    is_machine = world.recipients.is_machine_open[mailed.recipient]
    rows = np.flatnonzero(is_machine & (rng.random(len(is_machine)) < p.machine_fires))
    at = mailed.at(rows, rng.lognormal(np.log(0.6), 1.3, len(rows)))
    detected = rng.random(len(rows)) < p.machine_detected
    numbers = np.where(detected, actor_number(Actor.MACHINE), actor_number(Actor.UNKNOWN))
    _record(events, E.OPENED, mailed, rows, at, actor=numbers)


def _record(
    events: WorldEvents, kind: E, mailed: Mailed, rows: Array, at: Array, **columns: Array
) -> None:
    recipient, item = mailed.recipient[rows], mailed.item[rows]
    events.add(kind, recipient, at, send=mailed.send, item=item, **columns)


def _probability(log_odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
