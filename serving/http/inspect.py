"""Looking at one recipient and at the models: what is known, not what to do."""

import math
from dataclasses import asdict
from datetime import UTC
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute

from features.corrections import corrected
from features.definitions.recipient import VIEW
from features.errors import StoreUnavailableError
from features.events.schema import SECOND_US, Event, EventType
from models.specs import SPECS
from serving import policy
from serving.asks import Ask, Prediction
from serving.hours import send_time
from serving.http.answers import age_s, effects_of, fallback_of, models_of
from serving.http.inspect_schemas import (
    ChurnWhy,
    EventOut,
    FeatureOut,
    ModelOut,
    ModelsAnswer,
    RecipientAnswer,
    ShadowOut,
)
from serving.http.problems import ProblemError
from serving.http.rooms import RETRY_AFTER_S
from serving.http.routes import Parts
from serving.http.schemas import Problem

LAST: Final = 50
_UNITS: Final = {feature.name: feature.describe()[1] for feature in VIEW.features}


def inspect_router(parts: Parts, guarded: type[APIRoute]) -> APIRouter:
    """The routes over one set of parts."""
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (401, 403, 429, 503)},
    )

    @router.get(
        "/v1/recipients/{recipient_key:path}",
        response_model=RecipientAnswer,
        responses={404: {"model": Problem}},
    )
    async def recipient(recipient_key: str) -> Response:
        """Features, newest events, churn and its reasons of one recipient."""
        answer = await parts.looks.run(_recipient, parts, recipient_key)
        return Response(answer.model_dump_json(), media_type="application/json")

    @router.get("/v1/models", response_model=ModelsAnswer)
    async def models() -> Response:
        """Of every model the version that serves, and what it was made of."""
        answer = await parts.looks.run(_models, parts)
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


def _recipient(parts: Parts, key: str) -> RecipientAnswer:
    now = parts.clock()
    ask = Ask(key, explain=True, explore=False)
    (scored,) = parts.decider.score([ask], now=now)
    prediction = scored.prediction
    events = _events(parts, key)
    if not events and not prediction.newest_at:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "nothing is known of this recipient; a score is answered anyway"
        )
    chosen = send_time(ask, prediction, now=now)
    features = _finite(prediction)
    return RecipientAnswer(
        recipient_key=key,
        as_of=_shown(now),
        newest_age_s=age_s(prediction, now),
        tz=chosen.zone_name,
        tz_source=chosen.zone_source,
        features=features,
        missing=sorted(prediction.features.keys() - {one.name for one in features}),
        churn=ChurnWhy(p_churn=round(prediction.p_churn, 6), effects=effects_of(prediction)),
        events=[_event(event) for event in events],
        fallback=fallback_of(prediction),
        models=models_of(scored.champions),
    )


def _finite(prediction: Prediction) -> list[FeatureOut]:
    return [
        FeatureOut(name=name, value=value, unit=_UNITS[name])
        for name, value in prediction.features.items()
        if math.isfinite(value)
    ]


def _events(parts: Parts, key: str) -> list[Event]:
    """The newest of a recipient as they are known now: labelled anew, and erased ones left out."""
    try:
        entries = parts.log.history("recipient_key", key, until=parts.log.head())
    except StoreUnavailableError as error:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the event log cannot be read now; try again later",
            headers={"retry-after": RETRY_AFTER_S},
        ) from error
    known = [entry for entry in corrected(entries) if entry[1].type is not EventType.RELABELLED]
    newest = sorted(known, key=lambda entry: (entry[1].occurred_at, entry[0]), reverse=True)
    return [event for _, event in newest[:LAST]]


def _event(event: Event) -> EventOut:
    return EventOut(
        type=event.type,
        occurred_at=_shown(event.occurred_at),
        actor=event.actor,
        actor_reasons=list(event.actor_reasons),
        content_id=event.content_id,
        send_id=event.send_id,
    )


def _models(parts: Parts) -> ModelsAnswer:
    champions = parts.loader.current
    found = []
    for spec in SPECS:
        loaded = champions.by_name.get(spec.name)
        manifest = loaded.bundle.manifest if loaded else None
        shadow, told = parts.shadow.told(spec.name)
        found.append(
            ModelOut(
                name=spec.name,
                version=champions.version(spec.name),
                previous=parts.loader.previous(spec.name),
                spec_digest=spec.digest,
                as_of=manifest.as_of if manifest else "",
                label=manifest.label if manifest else "",
                fingerprint=manifest.fingerprint if manifest else "",
                basis=manifest.basis if manifest else "prior",
                shadow=ShadowOut(version=shadow, **asdict(told)),
            )
        )
    return ModelsAnswer(models=found)


def _shown(at: int) -> str:
    return policy.shown(at // SECOND_US * SECOND_US, UTC)
