"""The routes: read the body, one call in the middle, write the answer.

Every well-formed scoring call is answered 200 in full, because senders skip a mail on anything
else; what the models could not know is told in `fallback`.
"""

import logging
import re
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from features.errors import (
    EventRejectedError,
    RejectReason,
    StateUnreadableError,
    StoreUnavailableError,
)
from features.events.intake import Intake
from features.events.log import KEPT_OUT
from features.events.schema import Event, parse_event
from serving.guard import STORE
from serving.http.answer_schemas import ModelsOut, ScoreAnswer
from serving.http.answers import models_of
from serving.http.bodies import body_of, parsed
from serving.http.items import ItemReader
from serving.http.parts import Parts
from serving.http.problems import MADE_UP, ProblemError
from serving.http.request_schemas import ScoreRequest
from serving.http.rooms import RETRY_AFTER_S
from serving.http.schemas import (
    EventRefused,
    EventsAnswer,
    EventsRequest,
    Problem,
    ReadyAnswer,
    StoreOut,
)
from serving.http.together import Together
from serving.stages import Laps, Stage

LOG: Final = logging.getLogger("opportune.http")
_ERASED: Final = EventRejectedError(
    RejectReason.ERASED_RECIPIENT,
    "recipient_key",
    "(not shown)",
    "nothing is stored of them until they sign up anew; do not send it again",
)
_NAME: Final = re.compile(r"[a-z_]+(\.[a-z_]+)?", re.ASCII)  # a caller may put anything into a name


def router_of(parts: Parts, together: Together, guarded: type[APIRoute]) -> APIRouter:
    """The routes over one set of parts."""
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (400, 401, 403, 413, 429, 503)},
    )
    reader = ItemReader()

    @router.post("/v1/score", response_model=ScoreAnswer, openapi_extra=body_of(ScoreRequest))
    async def score(request: Request) -> Response:
        """When to send, whether to hold back and what to put in, for one recipient."""
        ask = parsed(reader.ask, await request.body())
        answer = await together.answer(request, ask)
        laps = Laps()
        written = orjson.dumps(answer)
        laps.end(Stage.WRITE)
        parts.timed(laps)
        return Response(written, media_type="application/json")

    @router.post(
        "/v1/events",
        response_model=EventsAnswer,
        openapi_extra=body_of(EventsRequest),
    )
    async def add_events(request: Request) -> Response:
        """Store events durably and fold them into the next score; repeat a call at will."""
        body = parsed(EventsRequest.model_validate, await request.body())
        return _json(await parts.intakes.run(_add_events, parts, body.events))

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process is alive."""
        return {"status": "ok"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
    async def readyz() -> Response:
        """The service can answer, by fallback where no champion or no online store is there."""
        store = StoreOut.UNAVAILABLE if parts.store.is_open else StoreOut.OK
        models = ModelsOut(**models_of(parts.loader.current))
        is_ready = not parts.drain.is_ending
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(ReadyAnswer(ready=is_ready, models=models, online_store=store), status=status)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        page = parts.metrics.page(
            parts.loader.current,
            is_open={STORE: parts.store.is_open},
            is_ready=not parts.drain.is_ending,
        )
        return Response(page, media_type="text/plain; version=0.0.4")

    return router


def _add_events(parts: Parts, items: list[Any]) -> EventsAnswer:
    now = parts.clock()
    events: list[Event] = []
    places: list[int] = []
    rejected: list[EventRefused] = []
    for index, item in enumerate(items):
        try:
            events.append(parse_event(_object(item), received_at=now))
            places.append(index)
        except EventRejectedError as error:
            rejected.append(_refused(index, item, error))
            parts.metrics.count_event(error.reason.value)
    try:
        offsets = Intake(parts.log, witness=parts.witness).take(events)
        parts.folding.catch_up()
    except (StoreUnavailableError, StateUnreadableError) as error:
        LOG.error("events were not folded in: %s", error)  # noqa: TRY400  the reason is in it
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "events cannot be stored now; send the same call again",
            headers={"retry-after": RETRY_AFTER_S},
        ) from error
    outside = [place for place, at in zip(places, offsets, strict=True) if at == KEPT_OUT]
    rejected += [_refused(place, items[place], _ERASED) for place in outside]
    duplicate = offsets.count(None)
    accepted = len(offsets) - duplicate - len(outside)
    parts.metrics.count_event("accepted", accepted)
    parts.metrics.count_event("duplicate", duplicate)
    parts.metrics.count_event(_ERASED.reason.value, len(outside))
    rejected.sort(key=lambda one: one.index)
    return EventsAnswer(accepted=accepted, duplicate=duplicate, rejected=rejected)


def _object(item: Any) -> dict[str, Any]:
    return item if isinstance(item, dict) else {}


def _refused(index: int, item: Any, error: EventRejectedError) -> EventRefused:
    event_id = item.get("event_id", "") if isinstance(item, dict) else ""
    field = error.field if _NAME.fullmatch(error.field) else MADE_UP
    return EventRefused(
        index=index,
        event_id=event_id[:64] if isinstance(event_id, str) and "@" not in event_id else "",
        reason=error.reason.value,
        field=field,
        message=f"{field}: {error.reason.value}; {error.remedy}",
    )


def _json(answer: BaseModel, *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(answer.model_dump_json(), status.value, media_type="application/json")
