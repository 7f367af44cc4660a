"""What another question would be answered, by asking it: the scorer and the decider run each time.

Nothing here is estimated or remembered. Each row is a decision of its own, made of a score of its
own, for the same recipient at the same moment; none of them is logged, counted, drawn or kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from features.events.schema import DAY_US, HOUR_US, offset_at
from serving.asks import Ask, Champions
from serving.decider import Decider, Scored
from serving.decision import Decision, decide
from serving.holding import Values
from serving.hours import SendTime
from serving.policy import Policy

QUIET: Final = (21 * 60, 8 * 60)
OWN_HOURS: Final = (9, 18)
WEEK_US: Final = 7 * DAY_US
DEAR: Final = Values(engagement=1.0, unsubscribe=50.0, complaint=500.0)
_DRY: Final = Policy()
_HELD_OUT: Final = Policy(holdout=1.0)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One question and what came of it."""

    question: str
    scored: Scored
    made: Decision


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question: the ask, under which policy, with which models switched off."""

    question: str
    ask: Ask
    policy: Policy = _DRY
    off: str = ""


def what_ifs(
    decider: Decider,
    ask: Ask,
    usual: SendTime,
    champions: Champions,
    *,
    now: int,
    is_held_out: bool,
) -> list[WhatIf]:
    """The answers to other questions, in a fixed order.

    Args:
        ask: The question as it stands: a dry run of a test.
        usual: The hour that it was answered by.
        champions: The models that answered it.
        is_held_out: Whether mails get the sender's own hour, which is then what is told.
    """
    asked = list(_asked(ask, usual, champions, now, is_held_out=is_held_out))
    told = []
    for off in dict.fromkeys(one.off for one in asked):
        mine = [one for one in asked if one.off == off]
        scored = decider.score([one.ask for one in mine], now=now, champions=_less(champions, off))
        told += [
            WhatIf(one.question, found, decide(one.ask, found.prediction, one.policy, now=now))
            for one, found in zip(mine, scored, strict=True)
        ]
    return told


def _asked(
    ask: Ask, usual: SendTime, champions: Champions, now: int, *, is_held_out: bool
) -> Iterator[_Asked]:
    quiet = replace(ask.rules, quiet=QUIET)
    yield _Asked("quiet hours from 21:00 to 08:00 on their clock", ask._replace(rules=quiet))
    for hour in OWN_HOURS:
        at = _next(hour, usual, now)
        yield _Asked(f"the sender's own hour were {hour:02}:00", ask._replace(default_at=at))
    yield _Asked("any hour of the next 7 days", ask._replace(window_to=now + WEEK_US))
    is_so = "as mails are answered now: held out" if is_held_out else "they were held out"
    real = ask._replace(explore=True, is_test=False)
    yield _Asked(is_so, real, policy=_HELD_OUT)
    dear = ask._replace(values=DEAR)
    yield _Asked("an unsubscribe cost 50 engagements, a complaint 500", dear)
    yield _Asked("nothing were known of them", ask._replace(recipient_key="", timezone=""))
    for name in ("send_time", "churn"):
        if name in champions.by_name:
            shown = name.replace("_", " ")
            yield _Asked(f"the {shown} model were switched off", ask, off=name)


def _less(champions: Champions, off: str) -> Champions:
    """The models without one of them, as `opportune switch off` leaves them."""
    if not off:
        return champions
    left = {name: loaded for name, loaded in champions.by_name.items() if name != off}
    return Champions(left, champions.off | {off})


def _next(hour: int, usual: SendTime, now: int) -> int:
    """The next time that the recipient's clock shows a whole hour."""
    hours = range(now // HOUR_US + 1, now // HOUR_US + 49)
    moments = [at * HOUR_US for at in hours]
    return next(at for at in moments if _local_hour(at, usual) == hour)


def _local_hour(at: int, usual: SendTime) -> int:
    return (at // HOUR_US * 60 + offset_at(usual.zone, at)) // 60 % 24
