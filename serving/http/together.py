"""Single scores that arrive at the same time are computed together.

A score by itself costs several times its share of many, because each run of a graph and each call
of numpy is paid for once. So whoever has arrived by the time that a call is understood is read,
scored and decided on with it, as a batch is. Nobody waits for who has not arrived: the event loop
is left a few times to take in what lies in its sockets, 1.4 us a time where nothing does.

Failure mode: a store that stands still past the soonest deadline of those who are scored together
costs all of them the models' word; how many they are is kept to what the soonest can wait for.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from fastapi import Request

from serving.asks import Ask
from serving.deadline import Deadline
from serving.fallback import FallbackReason as Why
from serving.http.answers import Answer
from serving.http.parts import Parts
from serving.http.scoring import answers
from serving.stages import Laps, Stage

PASSES: Final = 3  # of the loop: bytes are read in one, their task begins, its body is understood
AT_ONCE: Final = 32  # the loop is not left for longer than these take
SHARE: Final = 0.5  # of the time left to the soonest that computing them all may take
_FIRST_S: Final = 0.002  # what one is taken to cost before any was computed
_MEMORY: Final = 0.9  # of what one cost before, in the mean


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    ask: Ask
    request: Request
    deadline: Deadline
    context: Context
    done: asyncio.Future[tuple[Answer, Laps]]


class Together:
    """Answers single calls; used from one event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._waiting: list[_Call] = []
        self._each_s = _FIRST_S

    async def answer(self, request: Request, ask: Ask) -> Answer:
        """A complete answer, by the priors where there is a reason.

        Raises:
            ProblemError: 503 for an overload where the caller asked for that.
        """
        deadline = self._parts.patience.deadline(request)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._wait, loop, PASSES, context=Context())
        call = _Call(ask, request, deadline, copy_context(), loop.create_future())
        self._waiting.append(call)
        answer, laps = await call.done
        self._parts.timed(laps)
        return answer

    def _wait(self, loop: asyncio.AbstractEventLoop, passes: int) -> None:
        """Let the loop take in what has arrived, then answer."""
        if passes:
            loop.call_soon(self._wait, loop, passes - 1)
        else:
            self._turn(loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer some of those who wait, and leave the others to the next turn."""
        self._waiting.sort(key=lambda call: call.deadline.ends_at)
        some = self._chosen()
        taken = set(some)
        self._waiting = [call for call in self._waiting if call not in taken]
        if self._waiting:
            loop.call_soon(self._turn, loop, context=Context())
        computed = []
        for call in some:
            try:
                why = self._parts.patience.why_not(call.request, call.deadline)
            except Exception as refused:  # noqa: BLE001  nobody else may wait for ever
                _end(call, refused)
                continue
            if why is Why.NONE:
                computed.append(call)
            else:
                self._answer([call], why)
        if computed:
            began = perf_counter()
            self._answer(computed, Why.NONE)
            cost_s = (perf_counter() - began) / len(computed)
            self._each_s = _MEMORY * self._each_s + (1.0 - _MEMORY) * cost_s

    def _chosen(self) -> list[_Call]:
        """The soonest, no more than they can wait for, and of a recipient only one.

        The second of two calls about the same mail is to get what the first one did.
        """
        most = SHARE * self._waiting[0].deadline.left_s() / self._each_s
        n = int(min(max(most, 1), AT_ONCE))
        chosen: dict[str, _Call] = {}
        for call in self._waiting:
            chosen.setdefault(call.ask.recipient_key, call)
            if len(chosen) == n:
                break
        return list(chosen.values())

    def _answer(self, calls: Sequence[_Call], why: Why) -> None:
        """What is logged for one call alone carries its id."""
        if len(calls) == 1:
            calls[0].context.run(self._compute, calls, why)
        else:
            self._compute(calls, why)

    def _compute(self, calls: Sequence[_Call], why: Why) -> None:
        laps = Laps()
        asks = [call.ask for call in calls]
        try:
            told = list(answers(self._parts, asks, calls[0].deadline, why, laps))
            laps.end(Stage.DECIDE)
        except Exception as fault:  # noqa: BLE001  each call's own envelope tells it
            for call in calls:
                _end(call, fault)
            return
        for call, answer in zip(calls, told, strict=True):
            if not call.done.done():
                call.done.set_result((answer, laps))


def _end(call: _Call, why: Exception) -> None:
    """Unless who waited for it is gone."""
    if not call.done.done():
        call.done.set_exception(why)
