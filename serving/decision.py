"""One decision from one prediction: hour, order and hold together, each with its chance. Pure."""

from dataclasses import dataclass, replace
from typing import Literal

from serving.asks import Ask, Prediction
from serving.exploration import FirstPlace, is_drawn
from serving.fallback import FallbackReason
from serving.holding import HoldReason
from serving.hours import SendTime, explored, send_time
from serving.kept import Kept
from serving.policy import Policy, Ranking, ranking
from serving.rules import Binding


@dataclass(frozen=True, slots=True)
class Hold:
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


@dataclass(frozen=True, slots=True)
class Decision:
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
    policy = policy.of(ask)
    named = policy.id_of(ask)
    is_held_out = policy.holds_out(ask.recipient_key)
    hours = send_time(ask, prediction, now=now, is_personal=not is_held_out)
    if not is_held_out:
        hours = explored(hours, named, epsilon=policy.epsilon_hour)
    ranked = ranking(ask, prediction, policy, named, is_personal=not is_held_out)
    is_judged = not is_held_out and all(
        prediction.reasons[model] is FallbackReason.NONE for model in ("send_time", "churn")
    )
    value = ask.values.of(hours.best.p, prediction.risks)
    held = _hold(hours, value, named, is_judged=is_judged, epsilon=policy.epsilon)
    made = Decision(named, policy, is_held_out, hours, ranked, held)
    is_forbidden = FallbackReason.NO_CONSENT in prediction.reasons.values()
    return made if kept is None or is_forbidden else _as_kept(made, kept)


def to_keep(made: Decision, *, now: int) -> Kept:
    """What of a decision must not change; `now` in microseconds."""
    first = made.ranked.first
    return Kept(
        at=now,
        variant=first.content_id if first else "",
        propensity=first.propensity if first else 1.0,
        is_explored=first.is_explored if first else False,
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
    front = next((row for row in ranked.rows if row[0] == kept.variant), None)
    if front is not None:
        rows = [front, *(row for row in ranked.rows if row is not front)]
        ranked = Ranking(rows, FirstPlace(kept.variant, kept.propensity, kept.is_explored))
    slot = next((slot for slot in hours.slots if slot.at == kept.best_at), None)
    if slot is not None and hours.forbidden_by is Binding.NONE:
        hours = replace(
            hours, best=slot, propensity=kept.propensity_hour, is_explored=kept.is_hour_explored
        )
    of_worth = {HoldReason.NONE, HoldReason.NOT_WORTH_IT}
    if {hold.reason, kept.hold} <= of_worth:
        hold = Hold(kept.hold, 0, hold.value, kept.propensity_hold, kept.is_hold_explored)
    return replace(made, ranked=ranked, hours=hours, hold=hold)


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
