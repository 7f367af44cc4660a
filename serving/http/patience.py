"""Which scoring calls are worth computing: those that can still be answered in time.

Nothing queues for long: a call that has waited for half of its time is answered by the priors,
which costs little, and so the next ones find the loop free.
"""

from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.types import Scope

from serving.deadline import ITEM_S, Deadline, asked_s
from serving.fallback import FallbackReason as Why
from serving.http.access import is_rate_limited, wants_status
from serving.http.arrival import ARRIVED
from serving.http.metrics import Metrics
from serving.http.problems import ProblemError

_DEADLINE: Final = "opportune.deadline"
SHARE: Final = 0.5  # of its time that a call may wait before it is looked at
RETRY_AFTER_S: Final = "1"
_HEADER: Final = b"x-deadline-ms"


class Patience:
    """Gives calls their deadlines, and the reason not to compute an answer.

    Args:
        deadline_s: For one recipient; each further one adds `ITEM_S`.
    """

    def __init__(self, deadline_s: float, metrics: Metrics) -> None:
        self._deadline_s = deadline_s
        self._metrics = metrics

    def deadline(self, request: Request, *, n_items: int = 0) -> Deadline:
        """By when a call is answered; a header that is no number is not worth a mail."""
        within_s = self._deadline_s + ITEM_S * n_items
        for name, value in request.scope["headers"]:
            if name == _HEADER:
                asked = asked_s(value)
                if asked is None:
                    self._metrics.count_ignored_deadline()
                else:
                    within_s = min(within_s, asked)
        deadline = Deadline(request.scope[ARRIVED], within_s)
        request.scope[_DEADLINE] = deadline
        return deadline

    def why_not(self, request: Request, deadline: Deadline, *, has_room: bool = True) -> Why:
        """Why a call is answered without looking; NONE for most.

        Raises:
            ProblemError: 503 for an overload where the caller asked for that.
        """
        if is_rate_limited(request):
            return Why.RATE_LIMITED
        if deadline.is_over():
            return Why.DEADLINE
        if has_room and deadline.waited_s() <= SHARE * deadline.within_s:
            return Why.NONE
        if wants_status(request):
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "there are more calls than can be scored in time; try again later",
                headers={"retry-after": RETRY_AFTER_S},
            )
        return Why.OVERLOADED


def is_late(scope: Scope) -> bool:
    """Whether a scoring call was not done with by its deadline."""
    deadline: Deadline | None = scope.get(_DEADLINE)
    return deadline is not None and deadline.is_over()
