"""`POST /v1/webhooks/{provider}`: moves bytes and headers, answers after the durable write."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from features.errors import RejectReason, StoreUnavailableError
from features.events.esp.adapter import Delivery, WebhookRefusedError
from serving.clock import Clock
from serving.folding import Folding
from serving.http.metrics import Metrics
from serving.http.problems import ProblemError
from serving.http.rooms import Room
from serving.http.schemas import Problem, WebhookAnswer
from serving.webhooks import Webhooks

# What tells a provider to give up; others try a refused delivery again for a while.
_STOP: Final = {"mailgun": HTTPStatus.NOT_ACCEPTABLE}


def webhook_router(
    webhooks: Webhooks,
    folding: Folding,
    metrics: Metrics,
    clock: Clock,
    guarded: type[APIRoute],
    intakes: Room,
) -> APIRouter:
    """The route over one set of credentials."""
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (403, 406, 413, 503)},
    )

    def take(provider: str, delivery: Delivery) -> WebhookAnswer:
        try:
            taken = webhooks.take(provider, delivery)
            folding.catch_up()
        except WebhookRefusedError as error:
            metrics.count_event("webhook_refused")
            # Where only our settings are at fault the provider shall try again.
            stop = _STOP.get(provider) if webhooks.is_configured(provider) else None
            status = stop or HTTPStatus.FORBIDDEN
            raise ProblemError(status, error.problem) from error
        except StoreUnavailableError as error:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the delivery cannot be stored now; send it again",
                headers={"retry-after": "5"},
            ) from error
        metrics.count_event("accepted", taken.accepted)
        metrics.count_event("duplicate", taken.duplicate)
        metrics.count_event("quarantined", taken.quarantined)
        metrics.count_event(RejectReason.ERASED_RECIPIENT.value, taken.erased)
        return WebhookAnswer(
            accepted=taken.accepted, duplicate=taken.duplicate, quarantined=taken.quarantined
        )

    @router.post("/v1/webhooks/{provider}", response_model=WebhookAnswer)
    async def webhook(provider: str, request: Request) -> Response:
        """Take what a mail provider tells; 200 only after the durable write."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(headers, await request.body(), clock())
        answer = await intakes.run(take, provider, delivery)
        return Response(answer.model_dump_json(), media_type="application/json")

    return router
