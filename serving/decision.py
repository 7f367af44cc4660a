"""One decision from one prediction: hour, order and hold together, each with its chance. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from serving.asks import Ask, Prediction
from serving.columns import rows_of
from serving.exploration import FirstPlace, is_drawn
from serving.fallback import FallbackReason
from serving.holding import HoldReason
from serving.hours import SendTime, send_times
from serving.kept import Kept
from serving.policy import Policy
from serving.ranking import Ranking, rankings
from serving.rules import Binding


class Hold(NamedTuple):
    """Whether the mail had better not go out as asked.

    Args:
        until: When it may, microseconds; zero where that is not known or not the question.
        value: Of sending it at the best hour, in the sender's unit.
        propensity: The chance of just this, to hold it or to send it.
        is_explored: It goes out although it is not worth it, so that somebody finds out.
    """

    reason: HoldReason
    until: int
    value: float
    propensity: float = 1.0
    is_explored: bool = False


class Decision(NamedTuple):
    """What is decided for one ask."""

    id: str
    policy: Policy
    is_held_out: bool
    hours: SendTime
    ranked: Ranking
    hold: Hold

    @property
    def arm(self) -> Literal["personal", "holdout"]:
        """For comparing those held out with the others."""
        return "holdout" if self.is_held_out else "personal"


def decide(
    ask: Ask, prediction: Prediction, policy: Policy, *, now: int, kept: Kept | None = None
) -> Decision:
    """Decide on everything; the same ask, prediction, policy and moment give the same.

    Args:
        kept: What was decided for this mail before; it stays wherever it is still possible, but
            not for who has withdrawn their consent since.
    """
    return decide_each([ask], [prediction], policy, now=now, kept=[kept])[0]


def decide_each(
    asks: Sequence[Ask],
    predictions: Sequence[Prediction],
    policy: Policy,
    *,
    now: int,
    kept: Sequence[Kept | None],
) -> list[Decision]:
    """The same for many, each by itself, in their order."""
    policies = [policy.of(ask) for ask in asks]
    names = [own.id_of(ask) for own, ask in zip(policies, asks, strict=True)]
    held_out = [own.holds_out(ask.recipient_key) for own, ask in zip(policies, asks, strict=True)]
    drawn = [
        None if is_held_out else (own, named)
        for own, named, is_held_out in zip(policies, names, held_out, strict=True)
    ]
    draws = [None if one is None else (one[1], one[0].epsilon_hour) for one in drawn]
    hours = send_times(asks, predictions, now=now, draws=draws)
    ranked = rankings(asks, predictions, drawn)
    holds = []
    columns = asks, predictions, policies, names, held_out, hours
    for ask, prediction, own, named, is_held_out, when in zip(*columns, strict=True):
        reasons = prediction.reasons
        is_judged = (
            not is_held_out
            and reasons["send_time"] is FallbackReason.NONE
            and reasons["churn"] is FallbackReason.NONE
        )
        value = ask.values.of(when.best.p, prediction.risks)
        holds.append(_hold(when, value, named, is_judged=is_judged, epsilon=own.epsilon))
    made = rows_of(Decision, names, policies, held_out, hours, ranked, holds)
    for row, before in enumerate(kept):
        if before is None or FallbackReason.NO_CONSENT in predictions[row].reasons.values():
            continue
        made[row] = _as_kept(made[row], before)
    return made


def to_keep(made: Decision, *, now: int) -> Kept:
    """What of a decision must not change; `now` in microseconds."""
    first = made.ranked.shown_first
    return Kept(
        at=now,
        variant=first.content_id,
        propensity=first.propensity,
        is_explored=first.is_explored,
        best_at=made.hours.best.at,
        propensity_hour=made.hours.propensity,
        is_hour_explored=made.hours.is_explored,
        hold=made.hold.reason,
        propensity_hold=made.hold.propensity,
        is_hold_explored=made.hold.is_explored,
    )


def _as_kept(made: Decision, kept: Kept) -> Decision:
    """An hour that has passed or is forbidden now, and an item not asked for, are decided anew."""
    ranked, hours, hold = made.ranked, made.hours, made.hold
    if kept.variant in ranked.ids:
        first = FirstPlace(kept.variant, kept.propensity, kept.is_explored)
        ranked = ranked.led_by(first)
    slot = hours.slot_at(kept.best_at)
    if slot is not None and hours.forbidden_by is Binding.NONE:
        hours = hours._replace(
            best=slot, propensity=kept.propensity_hour, is_explored=kept.is_hour_explored
        )
    of_worth = {HoldReason.NONE, HoldReason.NOT_WORTH_IT}
    if {hold.reason, kept.hold} <= of_worth:
        hold = Hold(kept.hold, 0, hold.value, kept.propensity_hold, kept.is_hold_explored)
    return made._replace(ranked=ranked, hours=hours, hold=hold)


def _hold(hours: SendTime, value: float, named: str, *, is_judged: bool, epsilon: float) -> Hold:
    """Held for want of an allowed hour, or for its worth where that may be judged."""
    if hours.forbidden_by is not Binding.NONE:
        if hours.is_next_known:
            return Hold(HoldReason.NO_ALLOWED_HOUR, hours.best.at, value)
        return Hold(HoldReason.NEVER_ALLOWED, 0, value)
    if value >= 0.0 or not is_judged:
        return Hold(HoldReason.NONE, 0, value)
    if is_drawn(named, "send anyway", epsilon):
        return Hold(HoldReason.NONE, 0, value, epsilon, is_explored=True)
    return Hold(HoldReason.NOT_WORTH_IT, 0, value, 1.0 - epsilon)
