"""Pure ASGI middleware: a byte limit while reading, and the time of every request from its arrival.

The framework has no body limit of its own: 100 MB would be read and parsed before anything
looked at it. Bytes are counted as they arrive, whatever Content-Length says.
"""

import time
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.arrival import ARRIVED
from serving.http.metrics import Metrics
from serving.http.patience import is_late
from serving.http.problems import ProblemError

NDJSON: Final = "application/x-ndjson"
GONE: Final = 499  # the status of a call whose caller left before it had asked; nobody is told
_STREAMS: Final = "/v1/score:batch"


def is_ndjson(content_type: str) -> bool:
    """Whether a body is told to be a JSON text in each line."""
    return content_type.partition(";")[0].strip().lower() == NDJSON


class Limits:
    """Refuses large bodies with 413 and measures requests by route and status.

    Args:
        max_stream_bytes: Of what is asked line by line, which is not held in memory.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, max_stream_bytes: int, metrics: Metrics
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_stream_bytes = max_stream_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, received, most = 500, 0, self._most_of(scope)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                detail = f"the body is larger than {most} bytes; send smaller batches"
                headers = {"connection": "close"}
                raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=headers)
            return message

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except ClientDisconnect:
            status = GONE
            raise
        finally:
            spent_s = time.monotonic() - scope[ARRIVED]
            self._metrics.observe_request(pattern_of(scope), status, spent_s)
            if is_late(scope):
                self._metrics.count_late()

    def _most_of(self, scope: Scope) -> int:
        if scope["path"] == _STREAMS:
            told = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
            if is_ndjson(told.decode("latin-1")):
                return self._max_stream_bytes
        return self._max_bytes


def pattern_of(scope: Scope) -> str:
    """The route's own pattern, never the path: what callers make up would grow, and says who."""
    return str(getattr(scope.get("route"), "path", "other"))
