"""One send of a simulated world: who gets which item when, and what each person does with it."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.events import world_chances as chance
from features.events.schema import DAY_US, HOUR_US, SECOND_US, Actor
from features.events.schema import EventType as E
from features.events.world import hours_until
from features.events.world_clock import WEEK_HOURS, Array
from features.events.world_events import PROPENSITIES, actor_number
from features.events.world_living import Living
from features.events.world_policy import Sending, as_logged

N_CANDIDATES: Final = 6
_N_RECENT: Final = 18  # candidates are drawn from the newest items
N_LINKS: Final = 3  # that a scanner follows in every mail
_QUIET_DAYS: Final = 30  # without a sign of life, after which fewer mails are sent
_MINUTE_H: Final = 1 / 60
_SECOND_H: Final = 1 / 3_600


@dataclass(frozen=True, slots=True, eq=False)
class Mailed:
    """The mails of one send that reached an inbox, one row each."""

    send: int
    recipient: Array
    item: Array
    delivered_at: Array

    def at(self, rows: Array, hours: Array) -> Array:
        """The moment some hours after the delivery of these rows."""
        return self.delivered_at[rows] + 1 + (hours * HOUR_US).astype(np.int64)


def mail(living: Living, *, send: int, day: int) -> tuple[Array, Array, Array]:
    """Send to everybody subscribed and record what follows.

    Args:
        day: The day as microseconds of the sender's clock at its midnight.

    Returns:
        Recipient, item and moment of every click, for what follows on the site.
    """
    world, moods, rng = living.world, living.moods, living.rng
    mailed = _deliver(living, send=send, day=day)
    p, people, to = world.parameters, world.recipients, mailed.recipient
    n = len(to)
    wants = rng.random(n) < chance.wants(world, moods, to, mailed.item, rng.normal(0, 0.25))
    weary = chance.weariness(moods, to)
    leaves = rng.random(n) < p.p_unsubscribe * weary
    complains = rng.random(n) < p.p_complain * weary

    rows = np.flatnonzero(wants | leaves | complains)
    hours = _noticed_after(living, mailed, rows)
    seen = mailed.at(rows, np.where(np.isfinite(hours), hours, 0)) < moods.stopped_at[to[rows]]
    rows, hours = rows[np.isfinite(hours) & seen], hours[np.isfinite(hours) & seen]

    for kind, does in ((E.UNSUBSCRIBED, leaves), (E.COMPLAINED, complains)):
        of = does[rows]
        at = mailed.at(rows[of], hours[of] + rng.exponential(2 * _MINUTE_H, int(of.sum())))
        _record(living, kind, mailed, rows[of], at)
        moods.stop(to[rows[of]], at)

    opened, after = rows[wants[rows]], hours[wants[rows]]
    visible = ~people.is_machine_open[to[opened]]
    _record(living, E.OPENED, mailed, opened[visible], mailed.at(opened, after)[visible])
    _open_by_machine(living, mailed)
    _click_by_machine(living, mailed)

    clicks = rng.random(len(opened)) < chance.clicks(world, moods, to[opened], mailed.item[opened])
    clicked = opened[clicks]
    at = mailed.at(clicked, after[clicks] + rng.exponential(3 * _MINUTE_H, len(clicked)))
    on_time = at < moods.stopped_at[to[clicked]]
    clicked, at = clicked[on_time], at[on_time]
    _record(living, E.CLICKED, mailed, clicked, at)
    return to[clicked], mailed.item[clicked], at


def _deliver(living: Living, *, send: int, day: int) -> Mailed:
    """What the policy decides, queued, sent and, but for bounces, delivered."""
    world, moods, events, rng = living.world, living.moods, living.events, living.rng
    p, people, n = world.parameters, world.recipients, len(world.recipients.zone)
    starts_at = int(world.clock.utc_of(world.sender_zone, np.array([day]))[0])
    published = world.catalogue.n_published(starts_at)
    newest = np.arange(max(published - _N_RECENT, 0), published)
    candidates = rng.choice(newest, N_CANDIDATES, replace=False)
    is_quiet = moods.heard_at < starts_at - _QUIET_DAYS * DAY_US
    share = np.where(is_quiet, p.quiet_audience_share, 1.0) * p.audience_share
    subscribed = (people.signed_up_at < starts_at) & (starts_at < moods.stopped_at)
    audience = np.flatnonzero((rng.random(n) < share) & subscribed)
    sending = Sending(send, day, starts_at, audience, candidates)
    if living.decide is None:
        choice = as_logged(world, moods, sending, rng)
    else:
        choice = living.decide(sending, rng)
    # A queue of ten minutes; nobody's place in it means anything.
    queued = (rng.random(len(audience)) * 600 * SECOND_US).astype(np.int64)
    sent_at = world.clock.utc_of(world.sender_zone, day + choice.hour * HOUR_US) + queued
    goes = ~choice.is_held & (sent_at < moods.stopped_at[audience])
    to, sent_at, item = audience[goes], sent_at[goes], choice.item[goes]

    told, number = np.unique(
        np.stack([choice.p_hour[goes], choice.p_item[goes]]), axis=1, return_inverse=True
    )
    logged = [
        events.properties(dict(zip(PROPENSITIES, each, strict=True))) for each in told.T.tolist()
    ]
    properties = np.array(logged, np.int64)[number.ravel()]
    events.add(E.SENT, to, sent_at, send=send, item=item, properties=properties)
    arrived_at = sent_at + ((1 + rng.exponential(4, len(to))) * SECOND_US).astype(np.int64)
    ok = rng.random(len(to)) >= p.bounce_rate
    events.add(E.BOUNCED, to[~ok], arrived_at[~ok], send=send, item=item[~ok])
    events.add(E.DELIVERED, to[ok], arrived_at[ok], send=send, item=item[ok])
    moods.wear(to, days=7 / len(world.send_days))
    return Mailed(send, to[ok], item[ok], arrived_at[ok])


def _noticed_after(living: Living, mailed: Mailed, rows: Array) -> Array:
    """Hours until the mail is noticed in the inbox, infinite if not within a week."""
    to, at = mailed.recipient[rows], mailed.delivered_at[rows]
    hazard = chance.hazards(living.world, living.moods, to, at, WEEK_HOURS)
    return hours_until(hazard, living.rng.exponential(1, len(rows)))


def _open_by_machine(living: Living, mailed: Mailed) -> None:
    """Image prefetching: soon after delivery, whatever the person does."""
    p, rng = living.world.parameters, living.rng
    is_machine = living.world.recipients.is_machine_open[mailed.recipient]
    rows = np.flatnonzero(is_machine & (rng.random(len(is_machine)) < p.machine_fires))
    at = mailed.at(rows, rng.lognormal(np.log(0.6), 1.3, len(rows)))
    detected = rng.random(len(rows)) < p.machine_detected
    numbers = np.where(detected, actor_number(Actor.MACHINE), actor_number(Actor.UNKNOWN))
    _record(living, E.OPENED, mailed, rows, at, actor=numbers)


def _click_by_machine(living: Living, mailed: Mailed) -> None:
    """A scanner follows every link within seconds; providers do not notice every one."""
    p, rng = living.world.parameters, living.rng
    is_scanned = living.world.recipients.is_scanned[mailed.recipient]
    rows = np.flatnonzero(is_scanned & (rng.random(len(is_scanned)) < p.scanner_fires))
    after = rng.exponential(8 * _SECOND_H, len(rows))
    detected = rng.random(len(rows)) < p.scanner_detected
    numbers = np.where(detected, actor_number(Actor.MACHINE), actor_number(Actor.HUMAN))
    for link in range(N_LINKS):
        after = after + rng.exponential(0.7 * _SECOND_H, len(rows))
        at = mailed.at(rows, after)
        _record(living, E.CLICKED, mailed, rows, at, actor=numbers, link=np.full(len(rows), link))


def _record(
    living: Living, kind: E, mailed: Mailed, rows: Array, at: Array, **columns: Array
) -> None:
    moods, recipient = living.moods, mailed.recipient[rows]
    living.events.add(kind, recipient, at, send=mailed.send, item=mailed.item[rows], **columns)
    moods.hear(recipient, at)
    if kind is E.OPENED:
        moods.open_hour[recipient] = living.world.sender_hour(at)
