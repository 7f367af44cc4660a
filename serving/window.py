"""The hours that a mail could go out in, each with the rule that forbids it. Pure.

They are whole hours of UTC, a week's worth at most, so that none is lost or doubled in the night
of a clock change; the sender's own hour begins when the sender says, and where rules leave no whole
hour the first moment that they leave is one. Nothing here depends on what models say: mails that
ask alike share one window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.events.schema import HOUR_US, offset_at
from features.layout import HOURS_PER_WEEK, local_hour, slot_of_hour
from serving.rules import FREE, Binding, Rules

DEFAULT_WINDOW_H: Final = 24


class Asked(NamedTuple):
    """What a window depends on; times in microseconds, zero means not given.

    Args:
        usual_hour: Of the week, that suits most people: the sender's where they name none.
    """

    zone: tzinfo
    rules: Rules
    window_from: int
    window_to: int
    default_at: int
    usual_hour: int


@dataclass(frozen=True, slots=True)
class Window:
    """The hours that could be, in order.

    Args:
        moments: Of each, microseconds.
        of_week: The hour of the week of each on the recipient's clock.
        forbidden: The rule that forbids each, `NONE` where it is allowed.
        allowed: The places of those that are.
        wanted: The place of the sender's own hour.
        default: The place of the allowed one nearest to it; `wanted` where none is.
        end: Of the window, microseconds.
        is_given: Whether the sender gave a window.
    """

    moments: tuple[int, ...]
    of_week: NDArray[np.int64]
    forbidden: tuple[Binding, ...]
    allowed: tuple[int, ...]
    wanted: int
    default: int
    end: int
    has_passed: bool
    is_given: bool

    @property
    def is_free(self) -> bool:
        """Whether every hour is allowed."""
        return len(self.allowed) == len(self.moments)


def window_of(asked: Asked, now: int) -> Window:
    """The hours of the window from now on.

    Where no end is given it is the next 24 hours, or those around the sender's own time where that
    is later.
    """
    zone, rules, own = asked.zone, asked.rules, asked.default_at
    start = max(now, asked.window_from or now)
    if not asked.window_to and own > start + DEFAULT_WINDOW_H * HOUR_US:
        start = own - DEFAULT_WINDOW_H * HOUR_US // 2
    end = asked.window_to or start + DEFAULT_WINDOW_H * HOUR_US
    # Closed, or too short for a whole hour: as soon as allowed is no whole hour.
    moments = _hours(-(-start // HOUR_US), end // HOUR_US) or (start,)
    if start <= own <= end:
        moments = _with(moments, own)
    forbidden = (Binding.NONE,) * len(moments)
    if rules is not FREE:
        forbidden = rules.forbids(moments, zone)
        if Binding.NONE not in forbidden:
            last = max(start, min(end, start + HOURS_PER_WEEK * HOUR_US))
            between = rules.first_between(start, last, zone)
            if between is not None:
                moments = tuple(sorted((*moments, between)))
                forbidden = rules.forbids(moments, zone)
    if own:
        wanted = _nearest(moments, range(len(moments)), own)
    else:
        wanted = _usual(moments, zone, asked.usual_hour)
    allowed = [place for place, rule in enumerate(forbidden) if rule is Binding.NONE]
    default = wanted
    if allowed and forbidden[wanted] is not Binding.NONE:
        default = _nearest(moments, allowed, own or moments[wanted])
    return Window(
        moments=moments,
        of_week=hours_of_week(moments, zone),
        forbidden=forbidden,
        allowed=tuple(allowed),
        wanted=wanted,
        default=default,
        end=end,
        has_passed=end < start,
        is_given=bool(asked.window_from or asked.window_to),
    )


@lru_cache(maxsize=512)  # everybody's mails go out in the same few hours
def hours_of_week(moments: tuple[int, ...], zone: tzinfo) -> NDArray[np.int64]:
    """The hour of the week of each moment on a clock."""
    return np.array([_slot(at, zone) for at in moments])


@lru_cache(maxsize=512)
def _hours(first: int, last: int) -> tuple[int, ...]:
    return tuple(hour * HOUR_US for hour in range(first, last + 1)[:HOURS_PER_WEEK])


def _with(moments: tuple[int, ...], own: int) -> tuple[int, ...]:
    """The same hours, but that the one that holds a moment begins with it."""
    hour = own // HOUR_US * HOUR_US
    return tuple(sorted({own, *(at for at in moments if at != hour)}))


@lru_cache(maxsize=4_096)
def _slot(at: int, zone: tzinfo) -> int:
    return slot_of_hour(local_hour(at, offset_at(zone, at)))


@lru_cache(maxsize=512)
def _usual(moments: tuple[int, ...], zone: tzinfo, usual_hour: int) -> int:
    """The place of the hour of day that suits most people, where the sender names none."""
    hours = (place for place, at in enumerate(moments) if _slot(at, zone) % 24 == usual_hour % 24)
    return next(hours, 0)


def _nearest(moments: Sequence[int], places: Sequence[int], at: int) -> int:
    return min(places, key=lambda place: (abs(moments[place] - at), moments[place]))
