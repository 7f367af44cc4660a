"""Whose turn the first place is: mostly the best's, sometimes another's, with exact chances. Pure.

A model that only shows what it likes learns nothing of the rest, and a new item has no way in. So
with probability epsilon the first place is drawn: half of these draws go evenly to all candidates,
half evenly to the cold ones, those delivered fewer than 300 times. Every candidate thus has a
chance of at least epsilon / 2n, and a cold one of epsilon / 2 (1/n + 1/cold): log it, and
off-policy evaluation is exact.

The draw is a hash of the decision and nothing else. A mail rendered twice, by a service that was
started again meanwhile, shows the same, whatever the order of the candidates asked for.

Source: epsilon-greedy with logged propensities (Langford and Zhang 2007); the draw by weights
without a running generator is a race of exponentials (Efraimidis and Spirakis 2006).

Failure mode: chances are those of the deliveries known at the time of the answer. Without a
`content_id` on deliveries every item stays cold, and the draw is an even one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from math import log
from typing import Final, NamedTuple

ENOUGH: Final = 300.0  # decayed deliveries, beyond which an item is no longer cold
TO_COLD: Final = 0.5  # of the explored first places, where there are cold candidates


class FirstPlace(NamedTuple):
    """The candidate shown first, its chance of that, and whether it was drawn."""

    content_id: str
    propensity: float
    is_explored: bool


NO_PLACE: Final = FirstPlace("", 1.0, is_explored=False)  # where there are no candidates


def first_place(
    decision_id: str, best: str, shares: Mapping[str, float], *, epsilon: float
) -> FirstPlace:
    """The best candidate, or with probability `epsilon` one that is drawn.

    Args:
        best: The candidate with the highest score.
        shares: Of every candidate in a draw, as `exploration_shares` tells.
        epsilon: In [0, 1].
    """
    if len(shares) == 1:
        return FirstPlace(best, 1.0, is_explored=False)
    is_explored = is_drawn(decision_id, "whether", epsilon)
    chosen = best
    if is_explored:
        chosen = min(shares, key=lambda item: _finish(decision_id, item) / shares[item])
    propensity = epsilon * shares[chosen] + (1.0 - epsilon) * (chosen == best)
    return FirstPlace(chosen, propensity, is_explored)


def is_hour_drawn(decision_id: str, epsilon: float) -> bool:
    """Whether a decision's hour is drawn, which it is with probability `epsilon`."""
    return is_drawn(decision_id, "when at all", epsilon)


def drawn_hour(decision_id: str, moments: Sequence[int]) -> int:
    """Any of the moments, each alike; one that passes does not deal the others anew."""
    return min(moments, key=lambda at: _uniform(decision_id, b"when", str(at)))


def hour_chance(n: int, epsilon: float, *, is_best: bool) -> float:
    """The chance of one of `n` hours to be chosen."""
    return epsilon / n + (1.0 - epsilon) * is_best


def exploration_shares(delivered: Mapping[str, float]) -> dict[str, float]:
    """The chance of each candidate in a draw; they sum to one.

    >>> exploration_shares({"new": 0.0, "old": 9_000.0})
    {'new': 0.75, 'old': 0.25}
    """
    cold = {item for item, times in delivered.items() if not times >= ENOUGH}
    if not cold:
        return dict.fromkeys(delivered, 1.0 / len(delivered))
    even, more = (1.0 - TO_COLD) / len(delivered), TO_COLD / len(cold)
    return {item: even + more if item in cold else even for item in delivered}


def is_drawn(decision_id: str, purpose: str, epsilon: float) -> bool:
    """True for a share `epsilon` of all decisions; at most 16 characters of purpose."""
    return _uniform(decision_id, purpose.encode()) < epsilon


def _finish(decision_id: str, item: str) -> float:
    """An exponential of rate one: of several, each over its share, the least is first."""
    return -log(_uniform(decision_id, b"which", item))


def _uniform(decision_id: str, purpose: bytes, item: str = "") -> float:
    """A number in (0, 1] that depends on the arguments only."""
    hashed = hashlib.blake2b(item.encode(), key=decision_id.encode(), person=purpose, digest_size=8)
    return (int.from_bytes(hashed.digest()) + 0.5) / 2.0**64
