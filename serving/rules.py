"""What a sender allows: quiet hours, blackouts, expiry, a cap on mails, hours that are full. Pure.

A rule forbids moments. It is asked about each whole hour that a mail could go out, on the
recipient's own clock where the rule is about a clock, so that nights of clock changes need no care
of their own: a moment is either quiet or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from enum import StrEnum
from typing import Final

from features.events.schema import DAY_US, HOUR_US, offset_at

DAY_MIN: Final = 24 * 60
_MINUTE_US: Final = 60_000_000


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


@dataclass(frozen=True, slots=True)
class Cap:
    """So many mails at most in any stretch of so many days.

    Args:
        sent_at: Mails sent or planned, microseconds; None where the sender does not say.
    """

    most: int
    days: float
    sent_at: tuple[int, ...] | None = None

    def forbids(self, at: int) -> bool:
        """Whether one mail more at this moment would be too many in some stretch."""
        span = round(self.days * DAY_US)
        near = [sent for sent in self.sent_at or () if abs(sent - at) < span]
        all_of_them = sorted([*near, at])
        return any(
            all_of_them[first + self.most] - all_of_them[first] < span
            for first in range(len(all_of_them) - self.most)
        )


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

    def forbids(self, at: int, zone: tzinfo) -> Binding:
        """The first rule that forbids a moment, `NONE` for a moment that is allowed."""
        if self.expires_at and at >= self.expires_at:
            return Binding.EXPIRY
        if any(start <= at < end for start, end in self.blackouts):
            return Binding.BLACKOUT
        if self.quiet is not None and _is_between(_minute(at, zone), self.quiet):
            return Binding.QUIET_HOURS
        if self.cap is not None and self.cap.forbids(at):
            return Binding.FREQUENCY_CAP
        return Binding.THROTTLE if at // HOUR_US * HOUR_US in self.full else Binding.NONE

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


def _minute(at: int, zone: tzinfo) -> int:
    """Minutes since local midnight."""
    return at // _MINUTE_US % DAY_MIN + offset_at(zone, at)


def _is_between(minute: int, span: tuple[int, int]) -> bool:
    start, end = span
    return (minute - start) % DAY_MIN < (end - start) % DAY_MIN
