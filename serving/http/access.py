"""Who may call what: every route has its scope here, and one without stops the start.

The check is a part of the route itself, so that no path is matched twice by different rules.
"""

import base64
import binascii
import inspect
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import request_response

from features.events.schema import SECOND_US
from serving.buckets import Buckets
from serving.clock import Clock, system_clock
from serving.http.key_paths import KeyRoute
from serving.http.problems import ProblemError
from serving.keyring import KeyRing
from serving.keys import Key, Scope
from serving.links import SIGNATURE, is_signed

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
SCOPES: Final[dict[str, Scope | None]] = {
    "POST /v1/score": Scope.SCORE,
    "POST /v1/score:batch": Scope.SCORE,
    "GET /v1/render/{recipient_key}": Scope.SCORE,
    "POST /v1/events": Scope.EVENTS,
    "POST /v1/webhooks/{provider}": None,  # proven by the provider's signature
    "GET /v1/recipients/{recipient_key}": Scope.INSPECT,
    "GET /v1/recipients/{recipient_key}/export": Scope.PRIVACY,
    "DELETE /v1/recipients/{recipient_key}": Scope.PRIVACY,
    "GET /v1/models": Scope.INSPECT,
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": Scope.ADMIN,
}
# Pages for a person: a browser can send a key as the password of HTTP Basic, and of no other route.
PAGES: Final[dict[str, Scope | None]] = {
    "GET /inspect": Scope.INSPECT,
    "GET /inspect/{recipient_key}": Scope.INSPECT,
}
METRICS: Final = "GET /metrics"
LINKED: Final = frozenset({"GET /v1/render/{recipient_key}"})  # a signature is enough
BEARER: Final = 'Bearer realm="opportune"'
BASIC: Final = 'Basic realm="Opportune"'
_RATE_LIMITED: Final = "opportune.rate_limited"
_KEY: Final = "opportune.key"
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


@dataclass(frozen=True, slots=True)
class Access:
    """Lets a request pass or refuses it.

    Args:
        link_secret: Proves signed links; without one there are none.
        clock: Real time even where the service answers as of a past moment: keys end by it.
    """

    ring: KeyRing
    is_metrics_open: bool = True
    link_secret: str = field(default="", repr=False)
    clock: Clock = system_clock
    monotonic: Callable[[], float] = time.monotonic
    _buckets: Buckets = field(default_factory=Buckets)

    def scope_of(self, operation: str) -> Scope | None:
        """What a key needs for an operation such as `POST /v1/score`; None where none is asked.

        HEAD is as GET.

        Raises:
            KeyError: The operation is listed neither in `SCOPES` nor in `PAGES`.
        """
        if operation.startswith("HEAD "):
            operation = operation.replace("HEAD", "GET", 1)
        scope = PAGES[operation] if operation in PAGES else SCOPES[operation]
        return None if operation == METRICS and self.is_metrics_open else scope

    def check(self, request: Request, needed: Scope, *, is_page: bool = False) -> None:
        """Return if the request may go on.

        Args:
            is_page: A key may come as the password of HTTP Basic, which a browser asks for.

        Raises:
            ProblemError: 401 for no live key, 403 for one without the scope, 429 for one over its
                limit; a scoring call over the limit goes on and is marked instead.
        """
        if self.ring.is_open():
            return
        key = self.ring.find(_presented(request, may_be_basic=is_page), now=self.clock())
        if key is None:
            way = (
                "as the password, whatever the name"
                if is_page
                else "as `Authorization: Bearer ...`"
            )
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                f"send a valid API key {way} or `X-API-Key`",
                headers={"www-authenticate": BASIC if is_page else BEARER},
            )
        if needed not in key.scopes:
            detail = f"this needs a key with the scope {needed}"
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        request.scope[_KEY] = key.id
        if key.per_minute:
            self._limit(request, key, needed)

    def is_linked(self, request: Request) -> bool:
        """Whether a request comes by a signed link, which then needs no key.

        Raises:
            ProblemError: 403 for a signature that does not hold, or no longer.
        """
        query = request.query_params.multi_items()
        if not self.link_secret or SIGNATURE not in dict(query):
            return False
        now, key = self.clock() // SECOND_US, request.path_params["recipient_key"]
        if is_signed(key, query, secret=self.link_secret, now=now):
            return True
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            "the link is over, or its signature does not hold for this path and query; make a new "
            "one with `opportune render-link`",
        )

    def _limit(self, request: Request, key: Key, needed: Scope) -> None:
        wait_s = self._buckets.take(key.id, key.per_minute, at=self.monotonic())
        if not wait_s:
            return
        # A sender skips a mail on anything but 200, so only who asks for it is refused a score.
        if needed is Scope.SCORE and not wants_status(request):
            request.scope[_RATE_LIMITED] = True
            return
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"the key's {key.per_minute} calls a minute are used up; try again later",
            headers={"retry-after": str(math.ceil(wait_s))},
        )


def route_class(access: Access) -> type[APIRoute]:
    """The class of routes that check access before anything of the body is read."""

    class GuardedRoute(KeyRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
            super().__init__(path, endpoint, **more)
            if _is_plain(endpoint):
                self.app = request_response(self._guarded(endpoint))

        def get_route_handler(self) -> Handler:
            return self._guarded(super().get_route_handler())

        def _guarded(self, handler: Handler) -> Handler:
            operations = {f"{method} {self.path_format}" for method in self.methods or ()}
            (scope,) = {access.scope_of(operation) for operation in operations}
            may_be_linked, is_page = operations <= LINKED, operations <= PAGES.keys()
            if scope is None:
                return handler

            async def guarded(request: Request) -> Response:
                if not (may_be_linked and access.is_linked(request)):
                    access.check(request, scope, is_page=is_page)
                return await handler(request)

            return guarded

    return GuardedRoute


def _is_plain(endpoint: Callable[..., Any]) -> bool:
    """Whether an endpoint takes the request alone and makes the response itself.

    There is nothing then that FastAPI would read, check or write for it, which takes a tenth of a
    score that is computed with others.
    """
    told = inspect.signature(endpoint)
    taken = [one.annotation for one in told.parameters.values()]
    return (taken, told.return_annotation) == ([Request], Response)


def is_rate_limited(request: Request) -> bool:
    """Whether a scoring call is to be answered without looking."""
    return _RATE_LIMITED in request.scope


def actor_of(request: Request) -> str:
    """Who calls, as the audit log names them: by the id of the key."""
    return f"key:{request.scope[_KEY]}" if _KEY in request.scope else "service"


def wants_status(request: Request) -> bool:
    """Whether a caller prefers an error to an answer by the priors."""
    return request.headers.get("x-on-error") == "status"


def describe_access(document: dict[str, Any], access: Access) -> None:
    """Tell the OpenAPI document which operations take a key."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if access.scope_of(f"{method.upper()} {path}") is not None:
                operation["security"] = [{name: []} for name in _SCHEMES]


def _presented(request: Request, *, may_be_basic: bool) -> bytes:
    """The one key that the headers hold; nothing where there is none or several."""
    found = set()
    for name, value in request.scope["headers"]:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            found.add(value[7:].strip())
        elif name == b"authorization" and value[:6].lower() == b"basic " and may_be_basic:
            found.add(_password(value[6:].strip()))
    return found.pop() if len(found) == 1 else b""


def _password(credentials: bytes) -> bytes:
    """What stands after the first colon of `user:password`; nothing for what is no such pair."""
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
