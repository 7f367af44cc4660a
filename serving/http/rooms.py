"""Work in threads, so much at once and no more: what finds no room is told so, never queued.

The event loop shares the interpreter with these threads, and every one of them makes all others
slower. Who is refused here can be answered at once, by the priors or with 503.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from serving.http.problems import ProblemError

BATCHES: Final = 2  # more at once would only take from each other
INTAKES: Final = 16  # of events and webhooks: they wait for the disk, not for the interpreter
STREAMS: Final = 1  # of recipients line by line; it may last for minutes
LOOKS: Final = 8  # at recipients and models
RETRY_AFTER_S: Final = "5"
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Room:
    """Room for some calls at once; used from one event loop."""

    def __init__(self, calls: int) -> None:
        self._n_free = calls

    @property
    def is_free(self) -> bool:
        """Whether the next call finds room."""
        return self._n_free > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take up room for one call.

        Raises:
            ProblemError: 503 where there is none.
        """
        if not self.is_free:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "there are more of these calls than can be answered now; send the same call again",
                headers={"retry-after": RETRY_AFTER_S},
            )
        self._n_free -= 1
        try:
            yield
        finally:
            self._n_free += 1

    async def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do the work in a thread.

        Raises:
            ProblemError: 503 where there is no room.
        """
        with self.held():
            return await run_in_threadpool(work, *args, **kwargs)
