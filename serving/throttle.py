"""Many decisions that share the hours: no hour takes more mails than it may. Pure.

Those who lose most by another hour choose first, each among the hours that are not full yet.
Where all hours of the window are full the mail waits for the next one that is not, and says so.

Failure mode: the order of choosing is greedy; the sum of chances may be a little below the best.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from features.events.schema import HOUR_US
from serving.asks import Ask, Prediction
from serving.decision import Decision, decide, decide_each
from serving.holding import HoldReason
from serving.kept import Kept
from serving.policy import Policy


@dataclass(frozen=True, slots=True)
class Throttle:
    """So many mails an hour at most.

    Args:
        planned: Mails that other calls have put into an hour (microseconds).
    """

    per_hour: int
    planned: Mapping[int, int] = field(default_factory=dict)


def decide_all(
    asks: Sequence[Ask],
    predictions: Sequence[Prediction],
    policy: Policy,
    *,
    now: int,
    throttle: Throttle,
    kept: Sequence[Kept | None] | None = None,
) -> list[Decision]:
    """Decide for all, in the order of the asks, within the throttle.

    Args:
        kept: Per ask what was decided before, see `decide`.
    """
    before = kept or [None] * len(asks)
    free = decide_each(asks, predictions, policy, now=now, kept=before)
    taken = Counter(throttle.planned)
    full = {at for at, mails in taken.items() if mails >= throttle.per_hour}
    decided: dict[int, Decision] = {}
    by_mail: dict[str, tuple[Ask, Decision]] = {}  # the same mail may be named twice
    for place in sorted(range(len(asks)), key=lambda i: -at_stake(free[i])):
        made, ask = free[place], asks[place]
        twin = by_mail.get(made.id)
        if twin is not None and ask.send_id and ask == twin[0]:  # it has its room
            decided[place] = twin[1]
            continue
        if hour_of(made) in full:
            limited = ask._replace(rules=replace(ask.rules, full=ask.rules.full | full))
            made = decide(limited, predictions[place], policy, now=now, kept=before[place])
        if takes_room(made):
            taken[hour_of(made)] += 1
            if taken[hour_of(made)] >= throttle.per_hour:
                full.add(hour_of(made))
        decided[place] = made
        by_mail[made.id] = ask, made
    return [decided[place] for place in range(len(asks))]


def hour_of(made: Decision) -> int:
    """The hour that a mail would go out in, microseconds."""
    return made.hours.best.at // HOUR_US * HOUR_US


def takes_room(made: Decision) -> bool:
    """Whether a mail takes up room in its hour: it goes out, now or when an hour is allowed."""
    return made.hold.reason in {HoldReason.NONE, HoldReason.NO_ALLOWED_HOUR}


def at_stake(made: Decision) -> float:
    """What the chosen hour is worth beside the middle one."""
    return made.hours.best.p - float(np.median(made.hours.told.chances(made.hours.row)))
