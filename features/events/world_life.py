"""A simulated world that is lived week by week: what a loop of decisions and answers runs in."""

import hashlib
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import polars as pl

from features.events.schema import DAY_US, SECOND_US
from features.events.schema import EventType as E
from features.events.world import World
from features.events.world_clock import WEEK_US
from features.events.world_events import WorldEvents
from features.events.world_living import Living
from features.events.world_mail import mail
from features.events.world_moods import Moods
from features.events.world_parameters import Twists
from features.events.world_policy import Decide
from features.events.world_shift import Shift
from features.events.world_site import organic_visits, visit
from features.events.world_truth import Week

_MINUTE_US: Final = 60 * SECOND_US


@dataclass(slots=True, eq=False)
class Life:
    """A world and how far it has been lived.

    Args:
        seed: What the world was drawn from, and what a shift draws from.
        keys: Recipient keys by number.
        prefix: Begins every event id and send id.
        at: Where the next week begins, microseconds; from `ends_at` on it is over.
        lived: The moods at the begin of every week so far.
    """

    living: Living
    seed: int
    keys: list[str]
    prefix: str
    at: int
    ends_at: int
    shift: Shift | None = None
    n_sends: int = 0
    lived: list[Week] = field(default_factory=list)

    @classmethod
    def begun(  # noqa: PLR0913  one call says all of a world
        cls,
        *,
        seed: int,
        n_recipients: int,
        weeks: int,
        ends_at: int,
        twists: Twists | None = None,
        decide: Decide | None = None,
        shift: Shift | None = None,
    ) -> Self:
        """A world on its first day; the arguments are those of `simulator.simulate`."""
        begin = ends_at - weeks * WEEK_US
        drawing, dice = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
        twists = twists or Twists()
        world = World.drawn(
            drawing, n_recipients=n_recipients, span=(begin, ends_at), twists=twists
        )
        moods = Moods.at_begin(world, dice, begin)
        living = Living(world, moods, WorldEvents(), dice, decide)
        joined = np.flatnonzero(world.recipients.signed_up_at >= begin)
        living.events.add(E.SIGNED_UP, joined, world.recipients.signed_up_at[joined])
        named = f"{seed} {n_recipients} {weeks} {ends_at} {twists if twists != Twists() else ''}"
        prefix = f"sim-{hashlib.blake2b(named.encode(), digest_size=4).hexdigest()}-"
        keys = recipient_keys(seed, n_recipients)
        return cls(living, seed, keys, prefix, begin, ends_at, shift)

    def live_a_week(self) -> None:
        """Everything that follows from the mails and visits of the next week."""
        living, week = self.living, self.at
        living.moods.live_a_week(living.world, living.rng, week)
        if self.shift is not None and week - WEEK_US < self.shift.at <= week:
            self.shift.change(living.world, living.moods, np.random.default_rng(self.seed))
        self.lived.append(Week.of(week, living.moods))
        for day in _send_days(living.world, week):
            clicker, item, at = mail(living, send=self.n_sends, day=day)
            visit(living, clicker, at, entry=item)
            self.n_sends += 1
        visitor, at = organic_visits(living, begin=week)
        living.moods.hear(visitor, at)
        visit(living, visitor, at)
        self.at += WEEK_US

    def decide_by(self, decide: Decide) -> None:
        """Let another decide on the mails from now on."""
        self.living.decide = decide

    def events(self, *, before: int) -> pl.DataFrame:
        """What a sender has seen before a moment up to which the world was lived.

        A later week adds nothing to it, and its events keep their ids.
        """
        living = self.living
        return living.events.frame(
            living.world,
            self.keys,
            stopped_at=living.moods.stopped_at,
            ends_at=before,
            prefix=self.prefix,
        )


def recipient_keys(seed: int, n_recipients: int) -> list[str]:
    """Keys of a world's recipients; worlds of different seeds share none."""
    return [f"w{seed}-r{number:06}" for number in range(n_recipients)]


def _send_days(world: World, begin: int) -> list[int]:
    """Midnights of the sending days of the week from `begin`, on the sender's clock."""
    ahead = world.clock.offsets_at(np.array([world.sender_zone]), np.array([begin]))
    first = -(-(begin + int(ahead[0]) * _MINUTE_US) // DAY_US)
    days = range(first, first + 7)
    return [day * DAY_US for day in days if (day + 3) % 7 in world.send_days]
