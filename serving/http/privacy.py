"""What a recipient may ask for: everything held about them, and that it is removed."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from features.audit import Action, AuditLog, Entry
from features.errors import StoreUnavailableError
from features.events.digests import Digests
from features.online import OnlineStore
from features.witness import recipient
from serving.asks import Ask
from serving.erasure import checked, erase
from serving.errors import NotARecipientError
from serving.export import export
from serving.http.access import actor_of
from serving.http.inspect_schemas import ErasureAnswer
from serving.http.key_paths import KEY
from serving.http.parts import Parts
from serving.http.problems import ProblemError
from serving.http.rooms import RETRY_AFTER_S, Room
from serving.http.schemas import Problem
from serving.kept import Keeper
from serving.settings import ServingSettings

LOG: Final = logging.getLogger("opportune.privacy")
ERASURES: Final = 1  # each writes whole files anew; the next one waits for its turn at the caller


def privacy_router(
    parts: Parts,
    settings: ServingSettings,
    store: OnlineStore,
    keeper: Keeper | None,
    guarded: type[APIRoute],
) -> APIRouter:
    """The routes over one set of parts."""
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (400, 401, 403, 429, 503)},
    )
    room = Room(ERASURES)

    # Before the route of the recipient itself, whose key may hold slashes.
    @router.get(
        f"/v1/recipients/{KEY}/export",
        response_class=Response,
        responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def export_recipient(recipient_key: str, request: Request) -> Response:
        """Everything held about one recipient, as JSON with a schema version."""
        told = await parts.looks.run(_export, recipient_key, actor_of(request))
        return Response(orjson.dumps(told), media_type="application/json")

    @router.delete(f"/v1/recipients/{KEY}", response_model=ErasureAnswer)
    async def erase_recipient(recipient_key: str, request: Request) -> Response:
        """Remove one recipient from every store; safe to repeat."""
        told = await room.run(_erase, recipient_key, actor_of(request))
        return Response(orjson.dumps(told), media_type="application/json")

    def _export(key: str, actor: str) -> dict[str, Any]:
        checked_key(key)
        now = parts.clock()

        def exported() -> dict[str, Any]:
            found = export(
                settings, key, decider=parts.decider, log=parts.log, store=store, now=now
            )
            name = recipient(Digests(settings.events_dir), key)
            AuditLog(settings.audit_dir).add([Entry(Action.EXPORTED, name)], actor=actor, at=now)
            return found

        told: dict[str, Any] = tried(exported, "nothing was exported")
        return told

    def _erase(key: str, actor: str) -> dict[str, Any]:
        checked_key(key)

        def id_of(key: str, send: str) -> str:
            return parts.chooser.id_of(Ask(key, send_id=send))

        receipt = tried(
            lambda: erase(
                settings, [key], now=parts.clock(), actor=actor, id_of=id_of, keeper=keeper
            ),
            "the erasure is not complete",
        )
        return asdict(receipt)

    return router


def checked_key(key: str) -> None:
    """Refuse what is no recipient key.

    Raises:
        ProblemError: 400.
    """
    try:
        checked([key])
    except NotARecipientError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error


def tried(work: Callable[[], Any], problem: str) -> Any:
    """What work gives.

    Raises:
        ProblemError: 503 where a store refuses.
    """
    try:
        return work()
    except StoreUnavailableError as error:
        LOG.error("%s: %s", problem, error)  # noqa: TRY400  the reason is in it
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{problem}: a store cannot be used now; send the same call again",
            headers={"retry-after": RETRY_AFTER_S},
        ) from error
