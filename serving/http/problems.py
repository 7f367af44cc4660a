"""Real mistakes as problem+json (RFC 9457): what was wrong, never what was sent."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import Response
from pydantic import ValidationError

from serving.http.request_id import REQUEST_ID

TYPE: Final = "application/problem+json"
MADE_UP: Final = "(a name that is not ours)"
_MAX_ERRORS: Final = 20


class ProblemError(Exception):
    """A request that cannot be answered, with the status and the remedy."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        super().__init__(detail)


def response_of(problem: ProblemError) -> Response:
    """The answer for a problem."""
    body: dict[str, Any] = {
        "type": f"urn:opportune:problem:{problem.status.phrase.lower().replace(' ', '-')}",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "errors": problem.errors,
        "request_id": REQUEST_ID.get(),
    }
    return Response(
        orjson.dumps(body), problem.status.value, headers=problem.headers, media_type=TYPE
    )


def mistakes(error: ValidationError) -> list[str]:
    """Where and what, without the values that were sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{_place(item)}: {item['msg']}" for item in found[:_MAX_ERRORS]]


def _place(item: Mapping[str, Any]) -> str:
    """A path of our own field names; a name that the caller made up is not repeated."""
    parts = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        parts[-1] = MADE_UP
    return ".".join(parts) or "body"
