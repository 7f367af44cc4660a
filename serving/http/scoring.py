"""Asks to complete answers: score, recall what was decided, decide, and note it."""

import logging
from collections.abc import Sequence
from typing import Final

from serving.asks import Ask
from serving.deadline import Deadline
from serving.decider import Scored
from serving.decision import Decision
from serving.fallback import FallbackReason as Why
from serving.http.answers import Answer, answer_of, record_of
from serving.http.parts import Parts
from serving.kept import Kept
from serving.stages import Laps, Stage
from serving.throttle import Throttle

LOG: Final = logging.getLogger("opportune.http")


def answers(
    parts: Parts,
    asks: Sequence[Ask],
    deadline: Deadline,
    why: Why,
    laps: Laps,
    throttle: Throttle | None = None,
) -> list[Answer]:
    """Complete answers in order: by the priors where there is a reason, or for what is late."""
    now = parts.clock()
    if why is Why.NONE:
        scored = parts.decider.score(asks, now=now, deadline=deadline, laps=laps)
    else:
        scored = parts.decider.prior(asks, why=why)
    kept = parts.chooser.recalled(asks, now=now)
    made = parts.chooser.shared(asks, scored, kept, now=now, throttle=throttle)
    told = zip(asks, scored, kept, made, strict=True)
    answered = [_answer(parts, ask, one, now, before, shared) for ask, one, before, shared in told]
    if why is Why.NONE:
        parts.shadow.offer(asks, now=now)
    laps.end(Stage.DECIDE)
    return answered


def _answer(
    parts: Parts, ask: Ask, scored: Scored, now: int, kept: Kept | None, made: Decision | None
) -> Answer:
    """A fault of ours on the way still ends in a complete answer, and only for this one."""
    try:
        made = made or parts.chooser.choose(ask, scored, kept, now=now)
        answer = answer_of(ask, scored, made, now=now)
    except Exception:  # a fault of ours must not cost anybody a mail
        LOG.exception("deciding for a recipient failed; answering with priors")
        (scored,) = parts.decider.prior([ask])
        made = parts.chooser.choose(ask, scored, None, now=now)
        answer = answer_of(ask, scored, made, now=now)
    if kept is None:
        parts.chooser.keep(ask, made, now=now)
    parts.metrics.count_prediction(scored.prediction)
    parts.metrics.count_decision(made)
    parts.metrics.observe_age(answer["feature_age_s"])
    if parts.decisions is not None:
        parts.decisions.add(record_of(answer, at=now, slot=ask.slot, is_test=ask.is_test))
    return answer
