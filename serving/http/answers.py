"""Requests to asks, predictions and decisions to answers: translation only."""

from datetime import UTC
from typing import Any, Final

from features.candidates import Candidate
from features.events.schema import SECOND_US
from features.events.words import topics_of
from models.specs.churn import COMPLAINT, UNSUBSCRIBE
from serving import policy
from serving.asks import Ask, Champions, Prediction
from serving.decider import Scored
from serving.decision import Decision
from serving.explanation import explained
from serving.fallback import FallbackReason, worst
from serving.holding import HoldReason
from serving.hours import SendTime, Slot, ZoneSource
from serving.http.rule_schemas import micros, rules_of, values_of
from serving.http.schemas import (
    ChurnOut,
    ContentOut,
    EffectOut,
    FallbackOut,
    HoldOut,
    ModelsOut,
    PartsOut,
    RisksOut,
    ScoreAnswer,
    ScoreRequest,
    SendTimeOut,
)

RECORD_VERSION: Final = 2  # of lines in the log of decisions


def ask_of(body: ScoreRequest) -> Ask:
    """A request as the scorer takes it."""
    return Ask(
        recipient_key=body.recipient_key,
        send_id=body.send_id,
        timezone=body.timezone,
        window_from=micros(body.window_from),
        window_to=micros(body.window_to),
        default_at=micros(body.default_at),
        previous_band=body.previous_band or "",
        explain=body.explain,
        candidates=tuple(
            Candidate(item.content_id, tuple(item.topics) or topics_of(item.text))
            for item in body.candidates
        ),
        explore=body.explore,
        is_test=body.test,
        slot=body.slot,
        rules=rules_of(body.rules),
        values=values_of(body.values),
    )


def models_of(champions: Champions) -> ModelsOut:
    """The versions that answer."""
    return ModelsOut(
        send_time=champions.version("send_time"),
        churn=champions.version("churn"),
        content_preference=champions.version("content_preference"),
    )


def effects_of(prediction: Prediction) -> list[EffectOut]:
    """What moves p_churn; empty where nobody asked."""
    return [EffectOut(theme=one.theme, effect=round(one.effect, 6)) for one in prediction.effects]


def fallback_of(prediction: Prediction) -> FallbackOut:
    """Why not every part is the models' own word, if so."""
    reason = worst(*prediction.reasons.values())
    return FallbackOut(
        used=reason is not FallbackReason.NONE,
        reason=reason,
        parts=PartsOut(**prediction.reasons),
    )


def age_s(prediction: Prediction, now: int) -> int:
    """Seconds since the newest event, -1 without one.

    A sender's clock may be ahead of ours by minutes: such an event is new, not unknown.
    """
    return int(max(now - prediction.newest_at, 0) // SECOND_US) if prediction.newest_at else -1


def answer_of(ask: Ask, scored: Scored, made: Decision, *, now: int) -> ScoreAnswer:
    """The complete answer for one ask."""
    prediction, champions = scored.prediction, scored.champions
    chosen = made.hours
    return ScoreAnswer(
        decision_id=made.id,
        recipient_key=ask.recipient_key,
        send_id=ask.send_id,
        as_of=policy.shown(now // SECOND_US * SECOND_US, UTC),
        arm=made.arm,
        send_time=SendTimeOut(
            best_at=policy.shown(chosen.best.at, chosen.zone),
            best_at_epoch=chosen.best.at // SECOND_US,
            p_engage=round(chosen.best.p, 6),
            p_low=round(chosen.best.low, 6),
            p_high=round(chosen.best.high, 6),
            p_engage_default=round(chosen.default.p, 6),
            p_low_default=round(chosen.default.low, 6),
            p_high_default=round(chosen.default.high, 6),
            default_at=policy.shown(chosen.default.at, chosen.zone),
            default_at_epoch=chosen.default.at // SECOND_US,
            basis=_basis(prediction, champions),
            tz=chosen.zone_name,
            tz_source=chosen.zone_source,
            binding_constraint=chosen.binding,
            explanation=explained(
                prediction.activity,
                active_hours=prediction.features.get("active_total", 0.0),
                is_utc=chosen.zone_source is ZoneSource.UNKNOWN,
            ),
            explored=chosen.is_explored,
            propensity=chosen.propensity,
            slots=[_slot(slot, chosen) for slot in chosen.slots],
        ),
        hold=_hold(made),
        churn=ChurnOut(
            p_churn=round(prediction.p_churn, 6),
            band=policy.band(prediction.p_churn, ask.previous_band),
            horizon_days=prediction.horizon_days,
            risks=RisksOut(
                unsubscribe=round(prediction.risks[UNSUBSCRIBE], 6),
                complaint=round(prediction.risks[COMPLAINT], 6),
            ),
            effects=effects_of(prediction),
        ),
        content=_content(made.ranked),
        reason_codes=policy.reason_codes(prediction.features),
        evidence_n=round(prediction.features.get("active_total", 0.0)),
        feature_age_s=age_s(prediction, now),
        fallback=fallback_of(prediction),
        models=models_of(champions),
        policy=made.policy.name,
    )


def record_of(answer: ScoreAnswer, *, at: int, slot: str, is_test: bool) -> dict[str, Any]:
    """A decision as `features.decisions` reads it; `at` in microseconds."""
    hour, churn, content = answer.send_time, answer.churn, answer.content
    return {
        "version": RECORD_VERSION,
        "decision_id": answer.decision_id,
        "recipient_key": answer.recipient_key,
        "send_id": answer.send_id,
        "slot": slot,
        "at": at,
        "best_at": hour.best_at_epoch,
        "default_at": hour.default_at_epoch,
        "p_engage": hour.p_engage,
        "p_engage_default": hour.p_engage_default,
        "binding_constraint": hour.binding_constraint,
        "propensity_hour": hour.propensity,
        "explored_hour": hour.explored,
        "arm": answer.arm,
        "hold": answer.hold.reason,
        "propensity_hold": answer.hold.propensity,
        "p_churn": churn.p_churn,
        "band": churn.band,
        "variant": content.variant,
        "propensity": content.propensity,
        "explored": content.explored,
        "candidates": [row.content_id for row in content.ranking],
        "p_click": [row.p_click for row in content.ranking],
        "send_time_version": answer.models.send_time,
        "churn_version": answer.models.churn,
        "content_preference_version": answer.models.content_preference,
        "policy": answer.policy,
        "fallback": answer.fallback.reason,
        "is_test": is_test,
    }


def _content(ranked: policy.Ranking) -> ContentOut:
    first = ranked.first
    return ContentOut(
        variant=first.content_id if first else "",
        ranking=[{"content_id": item, "p_click": round(p, 6)} for item, p in ranked.rows],
        propensity=first.propensity if first else 1.0,
        explored=first.is_explored if first else False,
    )


def _basis(prediction: Prediction, champions: Champions) -> str:
    model = champions.by_name.get("send_time")
    is_prior = prediction.reasons["send_time"] in {
        FallbackReason.NO_MODEL,
        FallbackReason.SWITCHED_OFF,
        FallbackReason.BAD_SCORE,
        FallbackReason.INTERNAL,
    }
    return "prior" if model is None or is_prior else model.bundle.manifest.basis


def _hold(made: Decision) -> HoldOut:
    hold = made.hold
    return HoldOut(
        hold_back=hold.reason is not HoldReason.NONE,
        reason=hold.reason,
        until=policy.shown(hold.until, made.hours.zone) if hold.until else "",
        until_epoch=hold.until // SECOND_US,
        value=round(hold.value, 6),
        propensity=hold.propensity,
        explored=hold.is_explored,
    )


def _slot(slot: Slot, chosen: SendTime) -> dict[str, Any]:
    """A `SlotOut`; the answer makes all of them at once, in a third of the time."""
    return {
        "at": policy.shown(slot.at, chosen.zone),
        "at_epoch": slot.at // SECOND_US,
        "p": round(slot.p, 6),
    }
