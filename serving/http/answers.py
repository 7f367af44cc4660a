"""Requests to asks, predictions and decisions to answers: translation only.

An answer is plain data in the shape of `ScoreAnswer`. It is not made a checked model here:
tests hold every answer to the schema, strictly, and a check of each would cost a fifth of a batch.
"""

from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Any, Final

from features.candidates import Candidate
from features.events.schema import SECOND_US
from features.events.words import topics_of
from models.specs import SPECS
from serving import policy
from serving.asks import Ask, Champions, Prediction
from serving.decider import Scored
from serving.decision import Decision
from serving.explanation import Habit, explained, habits
from serving.fallback import FallbackReason, worst
from serving.holding import HoldReason
from serving.hours import SendTime
from serving.http.request_schemas import ScoreRequest
from serving.http.rule_schemas import micros, rules_of, values_of
from serving.ranking import Ranking
from serving.zones import ZoneSource

Answer = dict[str, Any]
MODELS: Final = tuple(spec.name for spec in SPECS)
RECORD_VERSION: Final = 2  # of lines in the log of decisions
_PRIORS: Final = frozenset(  # reasons why an hour is nobody's word
    {
        FallbackReason.NO_MODEL,
        FallbackReason.SWITCHED_OFF,
        FallbackReason.BAD_SCORE,
        FallbackReason.INTERNAL,
    }
)


def ask_of(body: ScoreRequest, candidates: tuple[Candidate, ...] | None = None) -> Ask:
    """A request as the scorer takes it.

    Args:
        candidates: Those of the body, where they are known already.
    """
    if candidates is None:
        candidates = tuple(
            Candidate(item.content_id, tuple(item.topics) or topics_of(item.text))
            for item in body.candidates
        )
    return Ask(
        recipient_key=body.recipient_key,
        send_id=body.send_id,
        timezone=body.timezone,
        window_from=micros(body.window_from),
        window_to=micros(body.window_to),
        default_at=micros(body.default_at),
        previous_band=body.previous_band or "",
        explain=body.explain,
        candidates=candidates,
        explore=body.explore,
        is_test=body.test,
        slot=body.slot,
        rules=rules_of(body.rules),
        values=values_of(body.values),
    )


def models_of(champions: Champions) -> dict[str, str]:
    """The versions that answer, a `ModelsOut`."""
    return {name: champions.version(name) for name in MODELS}


def effects_of(prediction: Prediction) -> list[dict[str, Any]]:
    """What moves p_churn, each an `EffectOut`; empty where nobody asked."""
    return [{"theme": one.theme, "effect": round(one.effect, 6)} for one in prediction.effects]


def fallback_of(prediction: Prediction) -> dict[str, Any]:
    """Why not every part is the models' own word, if so: a `FallbackOut`."""
    reason = worst(*prediction.reasons.values())
    used = reason is not FallbackReason.NONE
    return {"used": used, "reason": reason, "parts": prediction.reasons}


def age_s(prediction: Prediction, now: int) -> int:
    """Seconds since the newest event, -1 without one.

    A sender's clock may be ahead of ours by minutes: such an event is new, not unknown.
    """
    return int(max(now - prediction.newest_at, 0) // SECOND_US) if prediction.newest_at else -1


def answer_of(
    ask: Ask, scored: Scored, made: Decision, *, now: int, habit: Habit | None = None
) -> Answer:
    """The complete answer for one ask.

    Args:
        habit: Of the prediction's activity, where it is known already.
    """
    habit = habit or habits([scored.prediction.activity])[0]
    prediction, champions = scored.prediction, scored.champions
    return {
        "status": "ok",
        "decision_id": made.id,
        "recipient_key": ask.recipient_key,
        "send_id": ask.send_id,
        "as_of": policy.shown(now // SECOND_US * SECOND_US, UTC),
        "arm": made.arm,
        "send_time": _send_time(prediction, made.hours, champions, habit),
        "hold": _hold(made),
        "churn": {
            "p_churn": round(prediction.p_churn, 6),
            "band": policy.band(prediction.p_churn, ask.previous_band),
            "horizon_days": prediction.horizon_days,
            "risks": {
                "unsubscribe": round(prediction.risks.unsubscribe, 6),
                "complaint": round(prediction.risks.complaint, 6),
            },
            "effects": effects_of(prediction),
        },
        "content": _content(made.ranked),
        "reason_codes": policy.reason_codes(prediction.features),
        "evidence_n": round(prediction.active_hours),
        "feature_age_s": age_s(prediction, now),
        "fallback": fallback_of(prediction),
        "models": models_of(champions),
        "policy": made.policy.name,
    }


def record_of(answer: Answer, *, at: int, slot: str, is_test: bool) -> dict[str, Any]:
    """A decision as `features.decisions` reads it; `at` in microseconds."""
    hour, hold, churn = answer["send_time"], answer["hold"], answer["churn"]
    content, models = answer["content"], answer["models"]
    return {
        "version": RECORD_VERSION,
        "decision_id": answer["decision_id"],
        "recipient_key": answer["recipient_key"],
        "send_id": answer["send_id"],
        "slot": slot,
        "at": at,
        "best_at": hour["best_at_epoch"],
        "default_at": hour["default_at_epoch"],
        "p_engage": hour["p_engage"],
        "p_engage_default": hour["p_engage_default"],
        "binding_constraint": hour["binding_constraint"],
        "propensity_hour": hour["propensity"],
        "explored_hour": hour["explored"],
        "arm": answer["arm"],
        "hold": hold["reason"],
        "propensity_hold": hold["propensity"],
        "p_churn": churn["p_churn"],
        "band": churn["band"],
        "variant": content["variant"],
        "propensity": content["propensity"],
        "explored": content["explored"],
        "candidates": [row["content_id"] for row in content["ranking"]],
        "p_click": [row["p_click"] for row in content["ranking"]],
        "send_time_version": models["send_time"],
        "churn_version": models["churn"],
        "content_preference_version": models["content_preference"],
        "policy": answer["policy"],
        "fallback": answer["fallback"]["reason"],
        "is_test": is_test,
    }


def _send_time(
    prediction: Prediction,
    chosen: SendTime,
    champions: Champions,
    habit: Habit,
) -> dict[str, Any]:
    best, default, zone = chosen.best, chosen.default, chosen.zone
    return {
        "best_at": policy.shown(best.at, zone),
        "best_at_epoch": best.at // SECOND_US,
        "p_engage": round(best.p, 6),
        "p_low": round(best.low, 6),
        "p_high": round(best.high, 6),
        "p_engage_default": round(default.p, 6),
        "p_low_default": round(default.low, 6),
        "p_high_default": round(default.high, 6),
        "default_at": policy.shown(default.at, zone),
        "default_at_epoch": default.at // SECOND_US,
        "basis": _basis(prediction, champions),
        "tz": chosen.clock.name,
        "tz_source": chosen.clock.source,
        "binding_constraint": chosen.binding,
        "explanation": explained(
            habit,
            active_hours=prediction.active_hours,
            is_utc=chosen.clock.source is ZoneSource.UNKNOWN,
        ),
        "explored": chosen.is_explored,
        "propensity": chosen.propensity,
        "slots": _slots(chosen),
    }


def _content(ranked: Ranking) -> dict[str, Any]:
    first = ranked.shown_first
    return {
        "variant": first.content_id,
        "ranking": [
            {"content_id": item, "p_click": p}
            for item, p in zip(ranked.ids, ranked.shown, strict=True)
        ],
        "propensity": first.propensity,
        "explored": first.is_explored,
    }


def _basis(prediction: Prediction, champions: Champions) -> str:
    model = champions.by_name.get("send_time")
    is_prior = prediction.reasons["send_time"] in _PRIORS
    return "prior" if model is None or is_prior else model.bundle.manifest.basis


def _hold(made: Decision) -> dict[str, Any]:
    hold = made.hold
    return {
        "hold_back": hold.reason is not HoldReason.NONE,
        "reason": hold.reason,
        "until": policy.shown(hold.until, made.hours.zone) if hold.until else "",
        "until_epoch": hold.until // SECOND_US,
        "value": round(hold.value, 6),
        "propensity": hold.propensity,
        "explored": hold.is_explored,
    }


def _slots(chosen: SendTime) -> list[dict[str, Any]]:
    hours = _hours_shown(chosen.moments, chosen.zone)
    pairs = zip(hours, chosen.shown, strict=True)
    return [{"at": at, "at_epoch": epoch, "p": p} for (at, epoch), p in pairs]


@lru_cache(maxsize=512)  # everybody's mails go out in the same few hours
def _hours_shown(moments: tuple[int, ...], zone: tzinfo) -> tuple[tuple[str, int], ...]:
    return tuple((policy.shown(at, zone), at // SECOND_US) for at in moments)
