"""True examples for the OpenAPI document: what a service over a simulated world was asked and said.

In `examples.json`, where long lists of features and events are cut; here what follows from those.
"""

from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import orjson

from serving.flat import flat
from serving.http.limits import NDJSON
from serving.http.problems import TYPE, ProblemError, response_of

REFUSED: Final = {
    "status": "invalid",
    "index": 1,
    "errors": ["recipient_key: String should have at least 1 character"],
}
METRICS: Final = 'opportune_model_loaded{model="churn",version="1"} 1.0\nopportune_ready 1.0\n'
_FILE: Final = Path(__file__).with_name("examples.json")
_DETAILS: Final = {
    HTTPStatus.BAD_REQUEST: "the body does not fit; see errors and /openapi.json",
    HTTPStatus.UNAUTHORIZED: "send a valid API key as `Authorization: Bearer ...` or `X-API-Key`",
    HTTPStatus.FORBIDDEN: "this needs a key with the scope of the route",
    HTTPStatus.NOT_FOUND: "see /openapi.json for what there is",
    HTTPStatus.NOT_ACCEPTABLE: "the signature does not match; check the secret",
    HTTPStatus.REQUEST_TIMEOUT: "nothing came for 10 s before the lines ended; send it all again",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than allowed; send smaller batches",
    HTTPStatus.TOO_MANY_REQUESTS: "the key's calls of this minute are used up; try again later",
    HTTPStatus.SERVICE_UNAVAILABLE: "there are more of these calls than can be answered now",
}


class Examples:
    """Read when the document is first asked for, by operations such as `POST /v1/score`."""

    def __init__(self) -> None:
        told = orjson.loads(_FILE.read_bytes())
        self.asked: dict[str, Any] = told["asked"]
        score = told["answered"]["POST /v1/score"]
        self.answered: dict[str, Any] = told["answered"] | {
            "POST /v1/score:batch": {"results": [score, REFUSED]},
            "GET /v1/render/{recipient_key}": flat(score) | {"ignored": ""},
        }
        lines = b"".join(orjson.dumps(one) + b"\n" for one in (score, REFUSED)).decode()
        self._plain = {NDJSON: lines, "text/plain": METRICS}

    def of(self, operation: str, status: HTTPStatus, kind: str) -> Any:
        """An answer of an operation with a status and a media type; None where there is none."""
        if kind == TYPE:
            return self._problem(status)
        if status is HTTPStatus.OK:
            return self._plain.get(kind, self.answered.get(operation))
        ready = self.answered["GET /readyz"] | {"ready": False}
        return ready if operation == "GET /readyz" else None

    def _problem(self, status: HTTPStatus) -> Any:
        errors = ["recipient_key: Field required"] if status is HTTPStatus.BAD_REQUEST else []
        error = ProblemError(status, _DETAILS[status], errors=errors)
        return orjson.loads(response_of(error).body) | {"request_id": "9c1f0b77d2ab4e31"}
