"""What a log of mails tells of send time: how they age, what engages, how people differ.

Where it holds none, all three are what is usual; the hour comes from the rhythm in any case.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT
from models.specs.send_time import IF_HIDDEN, IF_SEEN, LEVEL, SPEC
from training import aging, clocks, labels, spread
from training.aging import fit_aging, seen_after
from training.errors import TooFewRowsError
from training.recipe import Order
from training.rhythm import Past, Rhythm
from training.send_chain import SendChain, Side
from training.send_link import SendLink, fit_link, prior_link
from training.splits import held_out

MAX_SENDS: Final = 20_000
MATURE_US: Final = 30 * 3_600_000_000  # a 24 h label is complete after 30 h
NEWEST_DAYS: Final = 28.0  # of mails that tell how people differ
MAX_NEWEST: Final = 5_000
ENGAGEMENT: Final = "engagement"

Floats = NDArray[np.float64]


def past_of(order: Order, spine: pl.DataFrame) -> Past:
    """The past weeks of the spine's people at its moments, each on the clock known then.

    Args:
        spine: Columns recipient_key and at (microseconds).
    """
    counts = order.data.rhythm(spine).astype(np.float64)
    return Past(counts, clocks.is_local(order.data.events, spine))


def fit_chain(order: Order, rhythm: Rhythm) -> tuple[SendChain, int]:
    """The chain of a fitted rhythm, and how many mails are behind its link.

    Nobody sees whether people open whose machines open for them. Those whose opens are seen
    stand for them: their link is fitted to the same mails, from what an open cannot touch.

    Raises:
        TooFewRowsError: Old mails give a link, but none is new enough to tell how people differ.
    """
    mails = labels.mails_engaged(order.data.events, window_us=DAY_US)
    mature = mails.filter(pl.col("at") < order.as_of - MATURE_US)
    if mature.is_empty():
        usual = Side(prior_link(SPEC.prior, len(LEVEL)), spread.USUAL)
        return SendChain(rhythm, aging.USUAL, usual, usual), 0
    sends = mature.sort("at", "recipient_key").tail(MAX_SENDS * 4)
    sends = sends.sample(min(MAX_SENDS, len(sends)), seed=order.seed)
    past, level = _known_at(order, sends)
    activity = rhythm.activity(past)
    slot = _slots(sends)
    curve = fit_aging(activity, slot, sends["age_h"].to_numpy())
    attention = seen_after(activity, curve)[np.arange(len(sends)), slot]
    seen, hidden = (
        fit_link(
            attention,
            level,
            sends["y"].to_numpy(),
            people=_numbers(sends),
            prior=SPEC.prior,
            read=[LEVEL.index(name) for name in names],
        )
        for names in (IF_SEEN, IF_HIDDEN)
    )
    if seen.basis != ENGAGEMENT:  # the same mails are behind both
        sides = [Side(link, spread.USUAL) for link in (seen, hidden)]
        return SendChain(rhythm, curve, *sides), len(sends)
    newest = pl.col("at") >= order.as_of - MATURE_US - round(NEWEST_DAYS * DAY_US)
    differ = _Differ(order, rhythm, curve, mature.filter(newest))
    sides = [
        Side(seen, differ.around(seen, by_activity=True)),
        Side(hidden, differ.around(hidden, by_activity=False)),
    ]
    return SendChain(rhythm, curve, *sides), len(sends)


class _Differ:
    """How people differ beyond what was known before the first of their newest mails.

    What is known later has the answers to the first ones in it and would explain them away.
    """

    def __init__(self, order: Order, rhythm: Rhythm, curve: Floats, mails: pl.DataFrame) -> None:
        mails = mails.sort("at", "recipient_key")
        share = MAX_NEWEST / max(len(mails), 1)
        chosen = held_out(mails["recipient_key"].to_list(), share=share, salt="spread")
        self._mails = mails.filter(pl.Series(chosen, dtype=pl.Boolean))
        if self._mails.is_empty():
            what = f"mails of the {NEWEST_DAYS:g} days before `as_of`"
            raise TooFewRowsError(SPEC.name, rows=0, need=1, what=what)
        self._first = self._mails.group_by("recipient_key", maintain_order=True).first()
        past, self._level = _known_at(order, self._first)
        self._active = past.counts.sum(axis=1)
        self._attention = seen_after(rhythm.activity(past), curve)

    def around(self, link: SendLink, *, by_activity: bool) -> spread.Spread:
        """The likeliest spread around a link that was fitted to mails.

        Args:
            by_activity: Whether more active hours leave less of it.
        """
        level, people = self._level, _numbers(self._mails)
        order_of = np.argsort(_numbers(self._first))
        log_odds = link.log_odds(self._attention, level)
        active = self._active if by_activity else np.zeros(len(level))
        found = spread.fit_spread(
            log_odds[order_of[people], _slots(self._mails)],
            link.log_odds(np.ones((len(level), 1)), level)[order_of, 0],
            self._mails["y"].to_numpy(),
            active=active[order_of],
            people=people,
        )
        return found if by_activity else replace(found, halved_at=spread.NEVER_HALVED)


def _known_at(order: Order, mails: pl.DataFrame) -> tuple[Past, Floats]:
    spine = mails.select("recipient_key", "at")
    return past_of(order, spine), order.data.recipient(spine, LEVEL).astype(np.float64)


def _numbers(mails: pl.DataFrame) -> NDArray[np.int64]:
    """Of each mail's recipient, in the order of their keys."""
    keys = mails["recipient_key"].to_numpy().astype(str)
    return np.asarray(np.unique(keys, return_inverse=True)[1], dtype=np.int64)


def _slots(mails: pl.DataFrame) -> NDArray[np.int64]:
    hours: NDArray[np.int64] = mails["hour"].to_numpy()
    return (hours + MONDAY_SHIFT) % HOURS_PER_WEEK
