"""Asks to complete answers: score, recall what was decided, decide, and note it."""

import logging
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from serving.asks import Ask
from serving.deadline import Deadline
from serving.decider import Scored
from serving.decision import Decision
from serving.explanation import Habit, habits
from serving.fallback import FallbackReason as Why
from serving.http.answers import Answer, answer_of, record_of
from serving.http.parts import Parts
from serving.kept import Kept
from serving.stages import Laps
from serving.throttle import Throttle

LOG: Final = logging.getLogger("opportune.http")


def answers(
    parts: Parts,
    asks: Sequence[Ask],
    deadline: Deadline,
    why: Why,
    laps: Laps,
    throttle: Throttle | None = None,
) -> Iterator[Answer]:
    """Complete answers in order: by the priors where there is a reason, or for what is late.

    All is decided before the first; each answer is made when it is asked for, so that the first
    need not lie in memory, out of the cache, until hundreds of them are there.
    """
    now = parts.clock()
    if why is Why.NONE:
        scored = parts.decider.score(asks, now=now, deadline=deadline, laps=laps)
        parts.shadow.offer(asks, now=now)
    else:
        scored = parts.decider.prior(asks, why=why)
    kept = parts.chooser.recalled(asks, now=now)
    made = parts.chooser.together(asks, scored, kept, now=now, throttle=throttle)
    known = habits([one.prediction.activity for one in scored]) if scored else []
    found = map(_Found, kept, made, known)
    for ask, one, there in zip(asks, scored, found, strict=True):
        yield _answer(parts, now, ask, one, there)


class _Found(NamedTuple):
    """What is there for one ask before its answer is made."""

    kept: Kept | None
    made: Decision | None
    habit: Habit


def _answer(parts: Parts, now: int, ask: Ask, scored: Scored, found: _Found) -> Answer:
    """A fault of ours on the way still ends in a complete answer, and only for this one."""
    try:
        made = found.made or parts.chooser.choose(ask, scored, found.kept, now=now)
        answer = answer_of(ask, scored, made, now=now, habit=found.habit)
    except Exception:  # a fault of ours must not cost anybody a mail
        LOG.exception("deciding for a recipient failed; answering with priors")
        (scored,) = parts.decider.prior([ask])
        made = parts.chooser.choose(ask, scored, None, now=now)
        answer = answer_of(ask, scored, made, now=now)
    parts.chooser.keep(ask, made, found.kept, now=now)
    parts.metrics.count_prediction(scored.prediction)
    parts.metrics.count_decision(made)
    parts.metrics.observe_age(answer["feature_age_s"])
    if parts.decisions is not None:
        is_tried = ask.is_test or not ask.explore
        parts.decisions.add(record_of(answer, at=now, slot=ask.slot, is_test=is_tried))
    return answer
