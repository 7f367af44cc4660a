"""Bodies of requests: read as their models, and told in the OpenAPI document."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from serving.http.problems import ProblemError, mistakes

JSON: Final = "application/json"
_Read = TypeVar("_Read")


def parsed(read: Callable[[Any], _Read], body: bytes) -> _Read:
    """A body as what it means; NaN, lone surrogates, bad UTF-8 and deep nesting end here.

    Args:
        read: Such as a model's `model_validate`.

    Raises:
        ProblemError: 400, with what is wrong.
    """
    try:
        return read(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        detail = f"the body is not JSON: {error.msg} at character {error.pos}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from error
    except ValidationError as error:
        detail = "the body does not fit; see errors and /openapi.json"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail, errors=mistakes(error)) from error


def body_of(model: type[BaseModel], **more: Any) -> dict[str, Any]:
    """A route's request body for the OpenAPI document, whose bytes the route reads itself.

    Args:
        more: Other content by media type.
    """
    schema = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {"requestBody": {"required": True, "content": {JSON: schema, **more}}}
