"""THE update rule: a decayed counter, scalar and readable; the oracle of everything faster.

    value(t) = value(at) * 2^-((t - at) / half_life)          read at any t >= at
    add(t, w): t later than at: decay to t, then add w
               t earlier (late arrival): add w * 2^-((at - t) / half_life)

Decayed sums form a commutative monoid under `merge`: any order of events, any split into
parts and any merge tree give the same value. Times are integer microseconds, half-lives
seconds; an infinite half-life makes a plain count.

Failure mode: the rule is not idempotent. The same event twice counts twice, so duplicates
must be gone before it (the log drops them by `event_id`).
"""

import math
from dataclasses import dataclass
from typing import Final

SECOND_US: Final = 1_000_000
NEVER_AT: Final = -(2**62)
FLOOR: Final = 1e-30  # below this a value is zero: subnormal numbers cost 8 times as much


@dataclass(frozen=True, slots=True)
class Counter:
    """A decayed sum as seen at one moment (microseconds)."""

    value: float = 0.0
    at: int = NEVER_AT


def weight(age_us: int, half_life_s: float) -> float:
    """What is left of one unit after `age_us`; more than one for a negative age.

    >>> weight(60 * SECOND_US, 60.0)
    0.5
    """
    return math.exp2(-(age_us / SECOND_US) / half_life_s)


def value_at(counter: Counter, at: int, *, half_life_s: float) -> float:
    """The counter's value at a moment not before its own."""
    if counter.at == NEVER_AT:
        return 0.0
    value = counter.value * weight(at - counter.at, half_life_s)
    return value if abs(value) >= FLOOR else 0.0


def add(counter: Counter, at: int, amount: float, *, half_life_s: float) -> Counter:
    """Add one event's amount, in order or late."""
    return merge(counter, Counter(amount, at), half_life_s=half_life_s)


def merge(a: Counter, b: Counter, *, half_life_s: float) -> Counter:
    """Add two counters that saw different events.

    Commutative and associative, so this one function is the stream update (one side holds
    a single event, however late), the combine step of Spark and the sum over shards.

    >>> merge(Counter(1.0, at=0), Counter(1.0, at=60_000_000), half_life_s=60.0)
    Counter(value=1.5, at=60000000)
    """
    at = max(a.at, b.at)
    value = value_at(a, at, half_life_s=half_life_s) + value_at(b, at, half_life_s=half_life_s)
    return Counter(value, at)
