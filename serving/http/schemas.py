"""What is asked and answered beside scores: events, readiness, problems."""

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, Field

from serving.http.answer_schemas import ModelsOut
from serving.http.rule_schemas import Strict

MAX_EVENTS: Final = 5_000


class EventsRequest(Strict):
    """Events as the schema has them; see the documentation of events."""

    events: list[Any] = Field(
        max_length=MAX_EVENTS,
        examples=[
            [
                {
                    "event_id": "e1",
                    "type": "clicked",
                    "recipient_key": "r_9f2",
                    "occurred_at": "2026-03-28T18:00:00Z",
                }
            ]
        ],
    )


class EventRefused(Strict):
    """An event that was not accepted, and what to do about it."""

    index: int
    event_id: str
    reason: str
    field: str
    message: str


class EventsAnswer(Strict):
    """What became of each event; accepted ones are durable and in the next score."""

    accepted: int
    duplicate: int
    rejected: list[EventRefused]


class WebhookAnswer(Strict):
    """What became of a provider's events; quarantined ones are kept with their reason."""

    accepted: int
    duplicate: int
    quarantined: int


class StoreOut(StrEnum):
    """Whether the online store is asked: `unavailable` while it fails."""

    OK = "ok"
    UNAVAILABLE = "unavailable"


class ReadyAnswer(Strict):
    """Whether the service can answer, if only by fallback, and with what."""

    ready: bool
    models: ModelsOut
    online_store: StoreOut


class Problem(BaseModel):
    """RFC 9457: what was wrong with the request; never an echo of it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[str] = []
    request_id: str = Field(description="Also in the header X-Request-Id and in the log.")
