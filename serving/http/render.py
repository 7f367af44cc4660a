"""A score by a URL, on one level: for template tags that can fetch and show, and no more.

Such a tag is filled by the profile of whoever is mailed. What cannot be read of it is left out and
named in `ignored`, as a bad `X-Deadline-Ms` is: a 400 would cost the mail. Only a key that is none
is refused. A provider may fetch the same URL more than once for a mail, so an answer may be kept
for a minute, unless it is one for want of something better.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field, ValidationError

from features.events.schema import MAX_KEY_CHARS, MAX_TOPICS
from serving.fallback import FallbackReason as Why
from serving.flat import Flat, flat
from serving.holding import HoldReason
from serving.http.answers import ask_of
from serving.http.key_paths import KEY
from serving.http.parts import Parts
from serving.http.problems import ProblemError
from serving.http.request_schemas import MAX_CANDIDATES, ScoreRequest
from serving.http.rule_schemas import Strict
from serving.http.schemas import Problem
from serving.http.together import Together
from serving.links import EXPIRES, SIGNATURE
from serving.policy import Band
from serving.stages import Laps, Stage

MAX_AGE_S: Final = 60
LASTING: Final = frozenset({Why.NONE, Why.NO_EVIDENCE, Why.UNKNOWN_RECIPIENT, Why.NO_MODEL})
QUERY: Final = {
    "send_id": "The mailing; part of the decision's identity.",
    "slot": "The place in the mail, where one mail asks for several.",
    "items": "Candidates: ids with commas between, each with topics if you like: a:x|y,b",
    "tz": "IANA zone of the recipient.",
    "default_at": "When the sender would send without us, as ISO 8601 or in seconds since 1970.",
    "window_from": "The mail may not go out before.",
    "window_to": "The mail may not go out after.",
    "explore": "`false` for a preview: nothing is drawn.",
    "test": "`true` for a test recipient.",
    EXPIRES: "Of a signed link: when it ends, in seconds since 1970.",
    SIGNATURE: "Of a signed link: HMAC-SHA256 over the rest.",
}
_FIELDS: Final = {"tz": "timezone", "items": "candidates"}  # where a field has a longer name
_NAMES: Final = {field: name for name, field in _FIELDS.items()}
_TIMES: Final = frozenset({"default_at", "window_from", "window_to"})
_EATEN_PLUS: Final = re.compile(r" (?=\d\d:?\d\d$)")  # of an offset that nobody percent-encoded


class RenderAnswer(Strict):
    """A score on one level, every name always there."""

    recipient_key: str
    send_id: str
    decision_id: str
    arm: str
    best_at: str = Field(description="ISO 8601 on the recipient's clock.")
    best_at_epoch: int
    p_engage: float
    tz: str
    explanation: str = Field(description="Why that hour, in words.")
    hold_back: bool = Field(description="True: do not send it now.")
    hold_reason: HoldReason
    band: Band = Field(description="Churn risk in words.")
    p_churn: float
    variant: str = Field(description="The item for the first place, empty without items.")
    propensity: float = Field(description="The chance of just that item in the first place.")
    explored: bool
    item_1: str = Field(description="The same as `variant`; the next places follow.")
    item_2: str
    item_3: str
    item_4: str
    item_5: str
    fallback: bool
    reason: Why = Field(description="Why it is not the models' own word; `none` where it is.")
    policy: str
    ignored: str = Field(description="Names in the query that could not be read, by blanks.")


def render_router(parts: Parts, together: Together, guarded: type[APIRoute]) -> APIRouter:
    """The route over one set of parts."""
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (400, 401, 403, 404, 429, 503)},
    )

    @router.get(
        f"/v1/render/{KEY}",
        response_model=RenderAnswer,
        responses={304: {"description": "It is what the caller has."}},
        openapi_extra={"parameters": [_described(name, text) for name, text in QUERY.items()]},
    )
    async def render(recipient_key: str, request: Request) -> Response:
        """A score for a template: flat, by GET, kept for a minute."""
        body, ignored = _asked(recipient_key, request.query_params)
        answer = await together.answer(request, ask_of(body))
        laps = Laps()
        told = flat(answer)
        headers = _kept(told, answer["fallback"]["reason"])
        has_it = _is_known(headers.get("etag", ""), request.headers.getlist("if-none-match"))
        shown = RenderAnswer(**told, ignored=" ".join(ignored))
        content = b"" if has_it else shown.model_dump_json().encode()
        laps.end(Stage.WRITE)
        parts.timed(laps)
        if has_it:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    return router


def _asked(recipient_key: str, query: Mapping[str, str]) -> tuple[ScoreRequest, list[str]]:
    """The question of a URL, and the names in it that could not be read."""
    if "@" in recipient_key:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST,
            "the key looks like an address; use an opaque key such as a keyed hash of it",
        )
    fields: dict[str, Any] = {
        _FIELDS.get(name, name): _EATEN_PLUS.sub("+", value) if name in _TIMES else value
        for name, value in query.items()
        if value and name in QUERY and name not in {EXPIRES, SIGNATURE}
    }
    given = [text for text in fields.get("candidates", "").split(",") if text]
    fields["candidates"] = [item for text in given if (item := _item(text))][:MAX_CANDIDATES]
    ignored = {"items"} if len(fields["candidates"]) < len(given) else set()
    fields["recipient_key"] = recipient_key
    try:
        return ScoreRequest.model_validate(fields), sorted(ignored)
    except ValidationError as error:
        # A window that ends before it begins is a mistake of the whole.
        places = [one["loc"][:1] or ("window_from", "window_to") for one in error.errors()]
        wrong = {str(name) for names in places for name in names}
    if "recipient_key" in wrong:
        detail = f"a key has 1 to {MAX_KEY_CHARS} characters"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
    left = {name: value for name, value in fields.items() if name not in wrong}
    return ScoreRequest.model_validate(left), sorted(ignored | {_NAMES.get(n, n) for n in wrong})


def _item(text: str) -> dict[str, Any] | None:
    """One candidate, `id` or `id:topic|topic`; None where it is too long."""
    content_id, _, told = text.partition(":")
    topics = [topic for topic in told.split("|") if topic]
    if not content_id or len(topics) > MAX_TOPICS or len(text) > MAX_KEY_CHARS:
        return None
    return {"content_id": content_id, "topics": topics}


def _kept(told: Flat, reason: Why) -> dict[str, str]:
    """How long an answer may be kept, and its tag: the same while a template shows the same."""
    if reason not in LASTING:
        return {}
    # Chances move by a hair with every second, and what is shown does not.
    shown = repr([value for name, value in told.items() if not name.startswith("p_")])
    tag = hashlib.blake2b(shown.encode(), digest_size=12).hexdigest()
    return {"etag": f'W/"{tag}"', "cache-control": f"private, max-age={MAX_AGE_S}"}


def _is_known(tag: str, known: Sequence[str]) -> bool:
    """Whether the caller has it already; compared weakly, as RFC 9110 13.1.2 has it."""
    given = {one.strip().removeprefix("W/") for line in known for one in line.split(",")}
    return bool(tag) and not given.isdisjoint({"*", tag.removeprefix("W/")})


def _described(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
