"""What a sender allows: quiet hours, blackouts, expiry, a cap on mails, hours that are full. Pure.

A rule forbids moments. It is asked about all whole hours at once that a mail could go out, on the
recipient's own clock where the rule is about a clock, so that nights of clock changes need no care
of their own: a moment is either quiet or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US, HOUR_US, offset_at

DAY_MIN: Final = 24 * 60
_HOUR_MIN: Final = 60
_MINUTE_US: Final = 60_000_000

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Binding(StrEnum):
    """What kept a better hour, or the sender's own, from being chosen."""

    NONE = "none"
    WINDOW = "window"
    WINDOW_PASSED = "window_passed"
    QUIET_HOURS = "quiet_hours"
    BLACKOUT = "blackout"
    EXPIRY = "expiry"
    FREQUENCY_CAP = "frequency_cap"
    THROTTLE = "throttle"
    HOLDOUT = "holdout"
    LITTLE_EVIDENCE = "little_evidence"
    LITTLE_GAIN = "little_gain"


_BINDINGS: Final = tuple(Binding)
_PLACE: Final = {rule: place for place, rule in enumerate(_BINDINGS)}
_NEVER: Final = np.iinfo(np.int64).max  # begins the span after the last


@dataclass(frozen=True, slots=True)
class Cap:
    """So many mails at most in any stretch of so many days.

    Args:
        sent_at: Mails sent or planned, microseconds; None where the sender does not say.
    """

    most: int
    days: float
    sent_at: tuple[int, ...] | None = None

    def forbids(self, at: Times) -> Flags:
        """Whether one mail more at each moment would be too many in some stretch."""
        begins, ends = self.spans()
        # Both ascend: of the spans that have not ended the first began first.
        open_one = np.searchsorted(ends, at, side="right")
        return np.append(begins, _NEVER)[open_one] < at

    def spans(self) -> tuple[Times, Times]:
        """Between which moments one more would be too many, in order; the ends are allowed."""
        span = round(self.days * DAY_US)
        sent = np.sort(np.array(self.sent_at or (), np.int64))
        first, last = sent[: max(len(sent) - self.most + 1, 0)], sent[self.most - 1 :]
        is_close = last - first < span
        return last[is_close] - span, first[is_close] + span


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sender allows for one mail; times in microseconds.

    Args:
        quiet: From and to in minutes of the local day, the end not included; the end may lie on
            the next day. The same minute twice is no quiet time at all.
        blackouts: From and to, the end not included.
        expires_at: The mail makes no sense from then on; zero for never.
        full: Hours that have taken all the mails they may.
    """

    quiet: tuple[int, int] | None = None
    blackouts: tuple[tuple[int, int], ...] = ()
    expires_at: int = 0
    cap: Cap | None = None
    full: frozenset[int] = frozenset()

    def forbids(self, moments: tuple[int, ...], zone: tzinfo) -> tuple[Binding, ...]:
        """Of each moment the first rule that forbids it, `NONE` where it is allowed."""
        at = np.array(moments, np.int64)
        told = np.zeros(len(at), np.int8)
        if self.full:
            told[np.isin(at // HOUR_US * HOUR_US, list(self.full))] = _PLACE[Binding.THROTTLE]
        if self.cap is not None:
            told[self.cap.forbids(at)] = _PLACE[Binding.FREQUENCY_CAP]
        if self.quiet is not None:
            start, end = self.quiet
            into = (_minutes(moments, zone) - start) % DAY_MIN
            told[into < (end - start) % DAY_MIN] = _PLACE[Binding.QUIET_HOURS]
        for start, end in self.blackouts:
            told[(start <= at) & (at < end)] = _PLACE[Binding.BLACKOUT]
        if self.expires_at:
            told[at >= self.expires_at] = _PLACE[Binding.EXPIRY]
        return tuple(map(_BINDINGS.__getitem__, told.tolist()))

    def first_between(self, start: int, end: int, zone: tzinfo) -> int | None:
        """The first allowed moment, both ends included, be it no whole hour; None for none.

        Nothing becomes allowed but at once, or where a rule ends.
        """
        edges = {start, *(over for _, over in self.blackouts)}
        if self.cap is not None:
            edges.update(self.cap.spans()[1].tolist())
        if self.quiet is not None:
            hours = tuple(range(start // HOUR_US * HOUR_US, end + 1, HOUR_US))
            past = (self.quiet[1] - _minutes(hours, zone)) % _HOUR_MIN
            edges.update((np.array(hours, np.int64) + past * _MINUTE_US).tolist())
        moments = tuple(sorted(at for at in edges if start <= at <= end))
        allowed = zip(moments, self.forbids(moments, zone), strict=True)
        return next((at for at, rule in allowed if rule is Binding.NONE), None)

    def knowing(self, delivered_at: int) -> "Rules":
        """The same where only our events tell of the newest mail; zero for none."""
        if self.cap is None or self.cap.sent_at is not None or not delivered_at:
            return self
        return replace(self, cap=replace(self.cap, sent_at=(delivered_at,)))


FREE: Final = Rules()


def most_binding(forbidden: Sequence[Binding]) -> Binding:
    """The rule that forbids the most moments; of equal ones the first asked."""
    order = list(Binding)
    return max(set(forbidden), key=lambda rule: (forbidden.count(rule), -order.index(rule)))


@lru_cache(maxsize=512)  # everybody's mails go out in the same few hours
def _minutes(moments: tuple[int, ...], zone: tzinfo) -> Times:
    """Minutes since local midnight, give or take whole days."""
    return np.array([at // _MINUTE_US % DAY_MIN + offset_at(zone, at) for at in moments], np.int64)
