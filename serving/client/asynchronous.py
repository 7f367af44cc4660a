"""The client in its asynchronous form, which the other one runs."""

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self, Unpack

from serving.client.answer import Answer, EventsStored
from serving.client.calls import (
    Asked,
    AskedOf,
    Throttle,
    answer_of,
    question_of,
    results_of,
    stored_of,
    throttle_after,
    together,
)
from serving.client.link import Link, UnansweredError
from serving.client.local import local_answer
from serving.clock import Clock, system_clock
from serving.errors import EventsNotStoredError

LOG: Final = logging.getLogger("opportune.client")
TIMEOUT_S: Final = 0.25
ITEM_S: Final = 0.006  # more for each item of a batch; the service takes 0.002 at most
CONNECT_S: Final = 0.1
EVENTS_S: Final = 10.0  # for a call of events, which wait for a disk
EVENT_TRIES: Final = 3
EVENT_PAUSE_S: Final = 0.5  # at most, before the second try; twice that before the third
MAX_BATCH: Final = 1_000
MAX_EVENTS: Final = 1_000


class AsyncClient:
    """Asks one service, in one asyncio event loop.

    Args:
        url: Where the service is, such as `http://127.0.0.1:8080`.
        key: An API key with the scopes `score` and `events`, as far as they are used.
        timeout_s: In which a score is there, by the service or by ourselves.
        connect_s: In which a connection is made; then it is tried again.
        clock: Microseconds since 1970, for answers of our own.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        timeout_s: float = TIMEOUT_S,
        connect_s: float = CONNECT_S,
        clock: Clock = system_clock,
    ) -> None:
        self._link = Link(url, key=key, connect_s=connect_s)
        self._timeout_s = timeout_s
        self._clock = clock
        self._trouble = ""

    async def score(self, recipient_key: str, **asked: Unpack[Asked]) -> Answer:
        """When to send, whether to hold back and what to put in, for one recipient."""
        try:
            body = question_of({"recipient_key": recipient_key, **asked})
            said = await self._link.post("/v1/score", body, within_s=self._timeout_s)
            answer = answer_of(said, recipient_key)
        except UnansweredError as error:
            return self._local(recipient_key, asked, error)
        self._is_well()
        return answer

    async def score_batch(
        self, asks: Iterable[AskedOf], *, throttle: Throttle | None = None
    ) -> list[Answer]:
        """The same for many recipients, in order; a call for each thousand.

        Args:
            throttle: Over all of the recipients.
        """
        answers: list[Answer] = []
        told: list[Any] = list(asks)
        all_asked = [ask if isinstance(ask, Mapping) else {} for ask in told]
        for start in range(0, len(all_asked), MAX_BATCH):
            part = all_asked[start : start + MAX_BATCH]
            answers += await self._batch(part, throttle_after(throttle, answers))
        return answers

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> EventsStored:
        """Store events durably; an event that is sent again counts as a duplicate.

        Raises:
            EventsNotStoredError: They were not taken, after some tries.
        """
        stored = EventsStored(accepted=0, duplicate=0, rejected=())
        for start in range(0, len(events), MAX_EVENTS):
            part = list(events[start : start + MAX_EVENTS])
            try:
                stored = together(stored, await self._stored(part), start=start)
            except UnansweredError as error:
                raise EventsNotStoredError(str(error), n_events=len(events) - start) from error
        return stored

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _batch(
        self, asks: Sequence[Mapping[str, Any]], throttle: Throttle | None
    ) -> list[Answer]:
        body: dict[str, Any] = {"requests": [question_of(ask) for ask in asks]}
        if throttle is not None:
            body["throttle"] = throttle
        within_s = self._timeout_s + ITEM_S * len(asks)
        try:
            said = await self._link.post("/v1/score:batch", body, within_s=within_s)
            results = results_of(said, len(asks))
        except UnansweredError as error:
            return [self._local(_key(ask), ask, error) for ask in asks]
        self._is_well()
        return [self._item(said, ask) for said, ask in zip(results, asks, strict=True)]

    def _item(self, said: Any, ask: Mapping[str, Any]) -> Answer:
        try:
            return answer_of(said, _key(ask))
        except UnansweredError as error:
            return self._local(_key(ask), ask, error)

    async def _stored(self, events: list[Mapping[str, Any]]) -> EventsStored:
        body = {"events": events}
        for pause_s in (EVENT_PAUSE_S * (1 + i) for i in range(EVENT_TRIES - 1)):
            try:
                return stored_of(await self._link.post("/v1/events", body, within_s=EVENTS_S))
            except UnansweredError as error:
                if not error.is_passing:
                    raise
                await asyncio.sleep(random.uniform(0.0, pause_s))  # noqa: S311  no secret
        return stored_of(await self._link.post("/v1/events", body, within_s=EVENTS_S))

    def _local(self, key: str, asked: Mapping[str, Any], error: UnansweredError) -> Answer:
        """The answer that we give ourselves; the log hears of it where it is news."""
        if error.why != self._trouble:
            self._trouble = error.why
            LOG.warning("answering by ourselves from now on: %s, %s", error.why, error)
        return local_answer(key, asked, why=error.why, now=self._clock())

    def _is_well(self) -> None:
        if self._trouble:
            self._trouble = ""
            LOG.info("the service answers again")


def _key(ask: Mapping[str, Any]) -> str:
    return str(ask.get("recipient_key", ""))
