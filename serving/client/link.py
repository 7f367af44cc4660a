"""One HTTP call to the service, done or not within its time, and never told with its key.

The time of a call is one for all of it: finding the name, connecting, writing and reading, however
slowly the other side drips. A connection that could not be made is tried again, because nothing has
been said yet; whatever else fails is for the caller to judge.
"""

import asyncio
import random
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import httpx
import orjson

from serving.client.local import ClientReason

CONNECT_TRIES: Final = 3
PAUSE_S: Final = 0.02  # at most, before the second try; twice that before the third
KEEP_ALIVE_S: Final = 60.0  # the service closes idle connections after 75 s
SHARE: Final = 0.8  # of the time, which the service may use; the rest is for the way
_TOLD: Final = 300  # characters of a problem
_KEY: Final = re.compile(r"[!-~]*")


class UnansweredError(Exception):
    """A call without a 200, and why: caught in this client, never shown to its caller.

    Args:
        is_passing: Whether the same call may succeed later.
    """

    def __init__(self, why: ClientReason, told: str, *, is_passing: bool = True) -> None:
        self.why = why
        self.is_passing = is_passing
        super().__init__(told)


class Link:
    """Connections to one service, kept alive; used from one event loop."""

    def __init__(self, url: str, *, key: str, connect_s: float) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError("no API key has such characters; give it whole and on one line")
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=connect_s),
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
        )

    async def post(self, path: str, body: Any, *, within_s: float) -> Any:
        """What a 200 says to a body, both as JSON.

        Raises:
            UnansweredError: There was none in time.
        """
        deadline_ms = max(1, round(within_s * SHARE * 1_000))
        headers = {"content-type": "application/json", "x-deadline-ms": str(deadline_ms)}
        content = _written(body)
        if self._http.is_closed:
            told = "the client is closed; make a new one"
            raise UnansweredError(ClientReason.UNREACHABLE, told, is_passing=False)
        try:
            async with asyncio.timeout(within_s):
                answer = await self._sent(path, content, headers)
        except TimeoutError as error:
            raise UnansweredError(ClientReason.TIMEOUT, f"none in {within_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            told = f"{type(error).__name__}: {error}"[:_TOLD]
            raise UnansweredError(ClientReason.UNREACHABLE, told) from error
        if answer.status_code != HTTPStatus.OK:
            is_passing = answer.is_server_error
            raise UnansweredError(ClientReason.REFUSED, _problem(answer), is_passing=is_passing)
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise UnansweredError(ClientReason.UNREADABLE, "a 200 that is no JSON") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _sent(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        for pause_s in (PAUSE_S * (1 + i) for i in range(CONNECT_TRIES - 1)):
            try:
                return await self._http.post(path, content=body, headers=headers)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                # Drawn, so that callers who met the same restart do not come back together.
                await asyncio.sleep(random.uniform(0.0, pause_s))  # noqa: S311  no secret
        return await self._http.post(path, content=body, headers=headers)


def _written(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        told = f"not sent, because it is no JSON: {error}"
        raise UnansweredError(ClientReason.REFUSED, told, is_passing=False) from error


def _problem(answer: httpx.Response) -> str:
    """What the service says is wrong; it never repeats what was sent, others may."""
    told: Any = {}
    if answer.headers.get("content-type") == "application/problem+json":
        with suppress(orjson.JSONDecodeError):
            told = orjson.loads(answer.content)
    words = [told.get("detail", ""), *told.get("errors", ())] if isinstance(told, dict) else []
    return " ".join([f"status {answer.status_code}", *map(str, words)])[:_TOLD].rstrip()
