"""The client for callers without an event loop: the asynchronous one, on a loop of its own.

Only an event loop can end a call when its time is over, wherever it is: a blocking search for a
name or a reply that drips byte by byte cannot be left.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

from serving.client.answer import Answer, EventsStored
from serving.client.asynchronous import CONNECT_S, TIMEOUT_S, AsyncClient
from serving.client.calls import Asked, AskedOf, Throttle
from serving.clock import Clock, system_clock

_T = TypeVar("_T")


class Client:
    """Asks one service, from any thread and from processes that were forked.

    Args: as of `AsyncClient`.
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
        def opened() -> AsyncClient:
            return AsyncClient(url, key=key, timeout_s=timeout_s, connect_s=connect_s, clock=clock)

        self._opened = opened
        self._start()

    def score(self, recipient_key: str, **asked: Unpack[Asked]) -> Answer:
        """When to send, whether to hold back and what to put in, for one recipient."""
        return self._run(lambda client: client.score(recipient_key, **asked))

    def score_batch(
        self, asks: Iterable[AskedOf], *, throttle: Throttle | None = None
    ) -> list[Answer]:
        """The same for many recipients, in order; a call for each thousand.

        Args:
            throttle: Over all of the recipients.
        """
        return self._run(lambda client: client.score_batch(asks, throttle=throttle))

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> EventsStored:
        """Store events durably; an event that is sent again counts as a duplicate.

        Raises:
            EventsNotStoredError: They were not taken, after some tries.
        """
        return self._run(lambda client: client.send_events(events))

    def close(self) -> None:
        """Close the connections and end the loop."""
        if self._process == os.getpid() and self._thread.is_alive():
            self._run(lambda client: client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: Callable[[AsyncClient], Coroutine[Any, Any, _T]]) -> _T:
        if self._loop.is_closed():
            return _at_once(call(self._client))
        if self._process != os.getpid():  # forked: neither the thread nor the connections are ours
            self._start()
        return asyncio.run_coroutine_threadsafe(call(self._client), self._loop).result()

    def _start(self) -> None:
        self._client = self._opened()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="opportune-client", daemon=True
        )
        self._thread.start()
        self._process = os.getpid()


def _at_once(call: Coroutine[Any, Any, _T]) -> _T:
    """What a call of a closed client comes to, which waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        ended: _T = done.value
        return ended
    call.close()
    raise RuntimeError("a closed client waited; make a new one")
