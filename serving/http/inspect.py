"""Looking at one recipient and at the models: what is known, not what to do."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute

from features.definitions.recipient import VIEW
from features.events.schema import Event
from models.bundle import Manifest
from models.specs import SPECS
from serving.asks import Prediction
from serving.http.answer_schemas import EffectOut, FallbackOut, ModelsOut
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
from serving.http.key_paths import KEY
from serving.http.looks import Look, look_at, utc
from serving.http.parts import Parts
from serving.http.schemas import Problem
from serving.proofs import Proof, Watermark, proofs, watermark

_UNITS: Final = {feature.name: feature.describe()[1] for feature in VIEW.features}


def inspect_router(parts: Parts, erasures_dir: Path, guarded: type[APIRoute]) -> APIRouter:
    """The routes over one set of parts.

    Args:
        erasures_dir: Where the proofs of erasures are.
    """
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (401, 403, 429, 503)},
    )

    @router.get(
        f"/v1/recipients/{KEY}",
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
        answer = await parts.looks.run(_models, parts, erasures_dir)
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


def answer_of_look(look: Look) -> RecipientAnswer:
    """What is known of one recipient as programs read it."""
    prediction = look.scored.prediction
    features = _finite(prediction)
    return RecipientAnswer(
        recipient_key=look.ask.recipient_key,
        as_of=utc(look.now),
        newest_age_s=age_s(prediction, look.now),
        tz=look.hours.clock.name,
        tz_source=look.hours.clock.source,
        features=features,
        missing=sorted(prediction.features.keys() - {one.name for one in features}),
        churn=ChurnWhy(
            p_churn=round(prediction.p_churn, 6),
            effects=[EffectOut(**one) for one in effects_of(prediction)],
        ),
        events=[_event(event) for event in look.newest],
        fallback=FallbackOut(**fallback_of(prediction)),
        models=ModelsOut(**models_of(look.scored.champions)),
    )


def _recipient(parts: Parts, key: str) -> RecipientAnswer:
    return answer_of_look(look_at(parts, key))


def _finite(prediction: Prediction) -> list[FeatureOut]:
    return [
        FeatureOut(name=name, value=value, unit=_UNITS[name])
        for name, value in prediction.features.items()
        if math.isfinite(value)
    ]


def _event(event: Event) -> EventOut:
    return EventOut(
        type=event.type,
        occurred_at=utc(event.occurred_at),
        actor=event.actor,
        actor_reasons=list(event.actor_reasons),
        content_id=event.content_id,
        send_id=event.send_id,
    )


def _mark(manifest: Manifest | None, known: Sequence[Proof]) -> Watermark:
    if manifest is None:
        return Watermark()
    return watermark(manifest.as_of, known, n_erasures=manifest.n_erasures)


def _models(parts: Parts, erasures_dir: Path) -> ModelsAnswer:
    champions, known = parts.loader.current, proofs(erasures_dir)
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
                **asdict(_mark(manifest, known)),
                shadow=ShadowOut(version=shadow, **asdict(told)),
            )
        )
    return ModelsAnswer(models=found)
