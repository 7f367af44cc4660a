"""Pure ASGI middleware: what an answer carries unless it says otherwise, and faults of ours.

HSTS is the proxy's: only who ends TLS knows whether there is any.
"""

import logging
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.arrival import note_arrival
from serving.http.drain import Drain
from serving.http.problems import ProblemError, response_of
from serving.http.request_id import REQUEST_ID, id_of

LOG: Final = logging.getLogger("opportune.http")
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)
GOODBYE: Final = ((b"connection", b"close"),)


class Envelope:
    """Names each request, adds headers to each answer, and lets no fault out."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note_arrival(scope)
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = id_of(given)
        REQUEST_ID.set(request_id)
        added = (*HEADERS, (b"x-request-id", request_id.encode()))
        is_begun = False

        async def told(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                last = GOODBYE if self._drain.is_ending else ()
                own = list(message.get("headers", ()))
                named = {name for name, _ in own}
                usual = [header for header in added if header[0] not in named]
                message["headers"] = [*own, *usual, *last]
            await send(message)

        try:
            await self._app(scope, receive, told)
        except ClientDisconnect:
            LOG.info("a caller left in the middle of a request")
        except Exception:  # the caller learns nothing of our insides
            LOG.exception("a request failed")
            if is_begun:
                raise
            fault = ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of ours")
            await response_of(fault)(scope, receive, told)
