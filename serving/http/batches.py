"""Many recipients in one call: up to a thousand in one body, any number line by line.

What is asked line by line is taken in whole before the first answer: most clients read nothing
until they have sent everything, and both sides would wait for each other. It lies in memory, or
on disk where it is large.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from serving.deadline import NEVER, Deadline
from serving.fallback import FallbackReason as Why
from serving.http.access import is_rate_limited
from serving.http.answer_schemas import BatchAnswer, ItemRefused
from serving.http.bodies import JSON, body_of, parsed
from serving.http.items import ItemReader
from serving.http.limits import NDJSON, is_ndjson
from serving.http.parts import Parts
from serving.http.problems import ProblemError, mistakes
from serving.http.request_schemas import BatchRequest
from serving.http.rooms import RETRY_AFTER_S
from serving.http.rule_schemas import throttle_of
from serving.http.schemas import Problem
from serving.http.scoring import answers
from serving.stages import Laps, Stage
from serving.throttle import Throttle

AT_ONCE: Final = 200  # lines that are scored together; other calls come in between
TOGETHER: Final = 50  # answers that are made before they are written
MOST_OF_A_LINE: Final = 262_144  # bytes
IDLE_S: Final = 10.0  # that a caller may leave the room waiting for its next bytes
IN_MEMORY: Final = 4_194_304  # bytes of a call; what is beyond lies on disk

_TOO_LONG: Final = f"body: longer than {MOST_OF_A_LINE} bytes; name fewer candidates in a line"
_LINES: Final = {
    "schema": {"type": "string", "description": "A body of /v1/score in each line."},
    "example": '{"recipient_key": "r_1"}\n{"recipient_key": "r_2"}\n',
}


def batch_router(parts: Parts, guarded: type[APIRoute]) -> APIRouter:
    """The route over one set of parts."""
    router = APIRouter(
        route_class=guarded,
        responses={code: {"model": Problem} for code in (400, 401, 403, 408, 413, 429, 503)},
    )

    @router.post(
        "/v1/score:batch",
        response_model=BatchAnswer,
        openapi_extra=body_of(BatchRequest, **{NDJSON: _LINES}),
    )
    async def score_batch(request: Request) -> Response:
        """The same for up to 1,000 recipients, in order; a bad item leaves the others alone.

        As `application/x-ndjson`, a body of /v1/score in each line, any number of recipients: a
        line of the answer for each line that is not blank, in order, without a deadline.
        """
        if is_ndjson(request.headers.get("content-type", "")):
            return await _streamed(parts, request)
        body = parsed(BatchRequest.model_validate, await request.body())
        deadline = parts.patience.deadline(request, n_items=len(body.requests))
        why = parts.patience.why_not(request, deadline, has_room=parts.batches.is_free)
        # Priors are little work: beyond the room for batches they have threads of their own.
        run = parts.batches.run if why is Why.NONE else run_in_threadpool
        return Response(await run(_batch, parts, body, deadline, why), media_type=JSON)

    return router


def _batch(parts: Parts, body: BatchRequest, deadline: Deadline, why: Why) -> bytes:
    """A `BatchAnswer`, written item by item: in one piece it would keep everybody waiting."""
    throttle = None if body.throttle is None else throttle_of(body.throttle)
    terms = _Terms(deadline, why, throttle)
    results = _results(parts, enumerate(body.requests), terms)
    return b'{"results":[' + b",".join(results) + b"]}"


class _LongLine:
    """Stands for a line that is too long to be read."""


class _Terms(NamedTuple):
    """What a whole call is answered by."""

    deadline: Deadline = NEVER
    why: Why = Why.NONE
    throttle: Throttle | None = None


def _results(parts: Parts, items: Iterable[tuple[int, Any]], terms: _Terms) -> list[bytes]:
    """An answer or a refusal for each item, in order.

    Args:
        items: Each with its index, which a refusal tells.
    """
    results: list[bytes] = []
    asks, places, reader = [], [], ItemReader()
    for place, (index, item) in enumerate(items):
        if isinstance(item, _LongLine):
            results.append(_refusal(index, [_TOO_LONG]))
            continue
        try:
            asks.append(reader.ask(item))
            places.append(place)
            results.append(b"")
        except ValidationError as error:
            results.append(_refusal(index, mistakes(error)))
    laps = Laps()
    answered = answers(parts, asks, terms.deadline, terms.why, laps, terms.throttle)
    left = iter(places)
    while some := list(islice(answered, TOGETHER)):
        laps.end(Stage.DECIDE)
        for answer, place in zip(some, left, strict=False):
            results[place] = orjson.dumps(answer)
        laps.end(Stage.WRITE)
    parts.timed(laps)
    return results


def _refusal(index: int, errors: list[str]) -> bytes:
    return ItemRefused(index=index, errors=errors).model_dump_json().encode()


class _Streamed(StreamingResponse):
    """An answer that lets go of what it holds though it is never begun, or broken off."""

    def __init__(self, lines: AsyncIterator[bytes], held: ExitStack) -> None:
        super().__init__(lines, media_type=NDJSON)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _streamed(parts: Parts, request: Request) -> Response:
    if is_rate_limited(request):  # nobody renders a mail by this
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "the key's calls of this minute are used up; try again later",
            headers={"retry-after": RETRY_AFTER_S},
        )
    with ExitStack() as held:
        held.enter_context(parts.streams.held())
        asked: IO[bytes] = held.enter_context(SpooledTemporaryFile(IN_MEMORY))
        async for chunk in _arriving(request):
            await run_in_threadpool(asked.write, chunk)
        asked.seek(0)
        kept = held.pop_all()
        return _Streamed(_lines(parts, asked, kept), kept)


async def _arriving(request: Request) -> AsyncIterator[bytes]:
    """What is asked as it comes in; whoever sends nothing more does not keep the others out.

    Raises:
        ProblemError: 408.
    """
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise ProblemError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"nothing came for {IDLE_S:g} s before the lines ended; send the whole call again",
                headers={"connection": "close"},
            ) from error
        if chunk is None:
            return
        yield chunk


async def _lines(parts: Parts, asked: IO[bytes], held: ExitStack) -> AsyncIterator[bytes]:
    numbered = _numbered(asked)
    while some := await run_in_threadpool(list, islice(numbered, AT_ONCE)):
        results = await run_in_threadpool(_results, parts, some, _Terms())
        yield b"".join(result + b"\n" for result in results)
    held.close()  # before the caller hears of the end, who may call again at once


def _numbered(asked: IO[bytes]) -> Iterator[tuple[int, bytes | _LongLine]]:
    """The lines that are not blank, each with its number, blank ones counted."""
    index = 0
    while line := asked.readline(MOST_OF_A_LINE + 1):
        is_long = not (is_over := line.endswith(b"\n")) and len(line) > MOST_OF_A_LINE
        while is_long and not is_over and (more := asked.readline(MOST_OF_A_LINE)):
            is_over = more.endswith(b"\n")
        if is_long or line.strip():
            yield index, _LongLine() if is_long else line
        index += 1
