"""What a caller may ask, as the service reads it, and what counts as an answer to that."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Required, TypedDict, TypeVar

from pydantic import BaseModel, ValidationError

from serving.client.answer import Answer, EventsStored
from serving.client.link import UnansweredError
from serving.client.local import ClientReason, item_id

HOUR_S: Final = 3_600
TAKES_ROOM: Final = frozenset({"none", "no_allowed_hour"})  # it goes out, now or later
_M = TypeVar("_M", bound=BaseModel)


class Asked(TypedDict, total=False):
    """What may be asked beside the recipient: the fields of `POST /v1/score`.

    Candidates are ids, or mappings with `content_id` and maybe `topics` or `text`; times are
    ISO 8601 or datetimes, without a zone in UTC.
    """

    send_id: str
    slot: str
    candidates: Sequence[str | int | Mapping[str, Any]]
    timezone: str
    window_from: datetime | str
    window_to: datetime | str
    default_at: datetime | str
    previous_band: str
    explain: bool
    explore: bool
    test: bool
    rules: Mapping[str, Any]
    values: Mapping[str, float]


class AskedOf(Asked, total=False):
    """One recipient of a batch."""

    recipient_key: Required[str]


class Throttle(TypedDict, total=False):
    """So many mails an hour over all recipients, and what is planned already, by epoch second."""

    per_hour: Required[int]
    planned: Mapping[str, int]


def question_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A body of `/v1/score`; bare ids become candidates, and numbers ids."""
    body = dict(asked)
    if isinstance(rows := asked.get("candidates"), list | tuple):
        body["candidates"] = [_candidate(row) for row in rows]
    return body


def answer_of(said: Any, recipient_key: str) -> Answer:
    """A complete answer to the question about just this recipient.

    Args:
        said: JSON that was read already.

    Raises:
        UnansweredError: It is something else.
    """
    if isinstance(said, dict) and said.get("status") == "invalid":
        raise UnansweredError(ClientReason.REFUSED, f"an item of a batch: {said.get('errors')}")
    answer = _checked(Answer, said)
    if answer.recipient_key != recipient_key:
        raise UnansweredError(ClientReason.UNREADABLE, "an answer about somebody else")
    return answer


def results_of(said: Any, n_asked: int) -> list[Any]:
    """The items of a batch's answer, as many as there were asked.

    Raises:
        UnansweredError: There are more or fewer, or none.
    """
    results = said.get("results") if isinstance(said, dict) else None
    if not isinstance(results, list) or len(results) != n_asked:
        raise UnansweredError(ClientReason.UNREADABLE, f"no answer with {n_asked} items")
    return results


def stored_of(said: Any) -> EventsStored:
    """What became of events.

    Raises:
        UnansweredError: It is something else.
    """
    return _checked(EventsStored, said)


def together(one: EventsStored, more: EventsStored, *, start: int) -> EventsStored:
    """Two calls told as one; `start` is the place of the second's first event."""
    rejected = [event.model_copy(update={"index": event.index + start}) for event in more.rejected]
    return EventsStored(
        accepted=one.accepted + more.accepted,
        duplicate=one.duplicate + more.duplicate,
        rejected=(*one.rejected, *rejected),
    )


def throttle_after(throttle: Throttle | None, answers: Sequence[Answer]) -> Throttle | None:
    """The same, knowing the mails that are planned by these answers.

    What is no throttle stays what it is, for the service to refuse.
    """
    told: Any = throttle
    planned = told.get("planned", {}) if isinstance(told, Mapping) else None
    if throttle is None or not isinstance(planned, Mapping):
        return throttle
    counted = dict(planned)
    for answer in answers:
        if answer.hold.reason in TAKES_ROOM:
            hour = str(answer.send_time.best_at_epoch // HOUR_S * HOUR_S)
            if isinstance(mails := counted.get(hour, 0), int):
                counted[hour] = mails + 1
    return {**throttle, "planned": counted}


def _candidate(row: Any) -> Any:
    content_id = item_id(row)
    if not content_id:
        return row
    return (
        {**row, "content_id": content_id}
        if isinstance(row, Mapping)
        else {"content_id": content_id}
    )


def _checked(model: type[_M], said: Any) -> _M:
    try:
        return model.model_validate(said)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise UnansweredError(
            ClientReason.UNREADABLE, f"{error.error_count()} mistakes in it, the first at {where}"
        ) from error
