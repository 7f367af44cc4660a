"""What is known of one recipient, read once; told to programs by a route, to people by a page."""

from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from typing import Final

from features.corrections import Entry, corrected
from features.errors import StoreUnavailableError
from features.events.schema import SECOND_US, Event, EventType
from serving import policy
from serving.asks import Ask
from serving.decider import Scored
from serving.hours import SendTime, send_time
from serving.http.parts import Parts
from serving.http.problems import ProblemError
from serving.http.rooms import RETRY_AFTER_S

LAST: Final = 50


@dataclass(frozen=True, slots=True)
class Look:
    """One recipient at one moment.

    Args:
        now: Microseconds.
        ask: What was asked: a dry run of a test, so that nothing is drawn, held out or kept.
        hours: The hour that would be chosen.
        entries: What happened as it is known now, newest first; what was erased is not there.
    """

    now: int
    ask: Ask
    scored: Scored
    hours: SendTime
    entries: list[Entry]

    @property
    def newest(self) -> list[Event]:
        """The last `LAST` events, newest first."""
        return [event for _, event in self.entries[:LAST]]


def look_at(parts: Parts, key: str) -> Look:
    """Score a recipient and read their events.

    Raises:
        ProblemError: 404 where nothing is known of them, 503 where the log cannot be read.
    """
    now = parts.clock()
    ask = Ask(key, explain=True, explore=False, is_test=True)
    (scored,) = parts.decider.score([ask], now=now)
    entries = _entries(parts, key)
    if not entries and not scored.prediction.newest_at:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "nothing is known of this recipient; a score is answered anyway"
        )
    return Look(now, ask, scored, send_time(ask, scored.prediction, now=now), entries)


def utc(at: int) -> str:
    """A moment as ISO 8601 in UTC, to the second."""
    return policy.shown(at // SECOND_US * SECOND_US, UTC)


def _entries(parts: Parts, key: str) -> list[Entry]:
    """A recipient's events as they are known now: labelled anew, and erased ones left out."""
    try:
        entries = parts.log.history("recipient_key", key, until=parts.log.head())
    except StoreUnavailableError as error:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the event log cannot be read now; try again later",
            headers={"retry-after": RETRY_AFTER_S},
        ) from error
    known = [entry for entry in corrected(entries) if entry[1].type is not EventType.RELABELLED]
    return sorted(known, key=lambda entry: (entry[1].occurred_at, entry[0]), reverse=True)
