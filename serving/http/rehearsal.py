"""Made-up calls that every new set of models answers before it answers real ones.

The first answers of a process cost a multiple of the later ones: modules are imported, schemas
built, memory taken. Here nobody waits for that. And a model that cannot answer is found out.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from features.candidates import Candidate
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import EventRejectedError
from features.events.schema import SECOND_US, EventType, parse_event
from features.layout import POOL
from features.packing import pack
from features.state import State
from features.stream import AFFINITIES
from models.errors import RehearsalError
from serving.asks import Ask, Champions
from serving.chooser import Chooser
from serving.clock import Clock
from serving.decider import CHUNK, Decider, Fixed
from serving.fallback import FallbackReason as Why
from serving.http.answer_schemas import ScoreAnswer
from serving.http.answers import answer_of, ask_of, record_of
from serving.http.request_schemas import BatchRequest, ScoreRequest
from serving.http.rule_schemas import throttle_of
from serving.items import CONTENT_LAYOUT
from serving.known import RECIPIENT_LAYOUT
from serving.policy import Policy

_KNOWN, _UNKNOWN, _ITEM = "rehearsal-known", "rehearsal-unknown", "rehearsal-item"
_NOT_THE_MODELS_FAULT: Final = frozenset(Why) - {Why.INTERNAL, Why.BAD_SCORE}
_DAY_US: Final = 86_400 * SECOND_US


class Rehearsal:
    """Asks models everything that can be asked, on a store of its own; nothing is written down."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self._chooser = Chooser(policy)
        self._clock = clock

    def __call__(self, champions: Champions) -> None:
        """Let a set of models answer.

        Raises:
            RehearsalError: They cannot.
        """
        now = self._clock()
        store = _Stage(now)
        decider = Decider(store, Fixed(champions))
        for call in _calls(now):
            self._answer(decider, call, now, champions)
        for why in Why:
            decider.prior([Ask(_KNOWN), Ask(_KNOWN, candidates=(Candidate(_ITEM),))], why=why)

    def _answer(
        self, decider: Decider, call: dict[str, Any], now: int, champions: Champions
    ) -> None:
        body = BatchRequest.model_validate(orjson.loads(orjson.dumps(call)))
        asks = [ask_of(ScoreRequest.model_validate(item)) for item in body.requests]
        throttle = None if body.throttle is None else throttle_of(body.throttle)
        scored = decider.score(asks, now=now)
        kept = self._chooser.recalled(asks, now=now)
        shared = self._chooser.together(asks, scored, kept, now=now, throttle=throttle)
        for ask, one, together in zip(asks, scored, shared, strict=True):
            made = together or self._chooser.choose(ask, one, None, now=now)
            answer = answer_of(ask, one, made, now=now)
            ScoreAnswer.model_validate_json(orjson.dumps(answer), strict=True)
            record_of(answer, at=now, slot=ask.slot, is_test=ask.is_test)
            for name, why in one.prediction.reasons.items():
                if name in champions.by_name and why not in _NOT_THE_MODELS_FAULT:
                    raise RehearsalError(name, f"answers a made-up call with {why.value}")


def open_stores(decider: Decider, chooser: Chooser, *, now: int) -> None:
    """Read once what every call reads: each thread has connections of its own."""
    ask = Ask(_UNKNOWN, send_id="rehearsal", candidates=(Candidate(_ITEM),))
    decider.score([ask], now=now)
    chooser.recalled([ask], now=now)


class _Stage:
    """A store that knows one recipient, one item and all items together."""

    def __init__(self, now: int) -> None:
        told = {
            "recipient_key": _KNOWN,
            "content_id": _ITEM,
            "topics": ["rehearsal"],
            "send_id": "rehearsal",
            "timezone": "Europe/Berlin",
            "value": 1.0,
        }
        person, item = State(), State()
        for number, kind in enumerate(EventType):
            try:
                at = (now - (20 - number) * _DAY_US) / SECOND_US
                raw = told | {"event_id": str(number), "type": kind, "occurred_at": at}
                event = parse_event(raw, received_at=now)
            except EventRejectedError:  # a correction, which needs more, and says nothing new
                continue
            if kind is EventType.CONSENT_WITHDRAWN:  # nothing would be read of them
                continue
            person.apply(event, layout=RECIPIENT_LAYOUT, affinity=AFFINITIES[RECIPIENT.entity])
            item.apply(event, layout=CONTENT_LAYOUT, affinity=AFFINITIES[CONTENT.entity])
        content = pack(item, CONTENT_LAYOUT)
        self._blobs = {_KNOWN: pack(person, RECIPIENT_LAYOUT), _ITEM: content, POOL: content}

    def get(
        self, _entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[bytes | None]:
        """As `serving.guard.Reads` has it; nothing is ever too old."""
        del now
        return [self._blobs.get(key) for key in keys]


def _calls(now: int) -> Iterator[dict[str, Any]]:
    """Calls of every shape: somebody known and nobody, with items and without, rules, a batch."""
    hours = [datetime.fromtimestamp(now // SECOND_US + 3_600 * n, UTC) for n in range(72)]
    window = {"window_from": hours[1], "window_to": hours[60], "default_at": hours[8]}
    items = [{"content_id": _ITEM, "topics": ["rehearsal"]}, {"content_id": "new", "text": "New"}]
    rules = {
        "quiet_hours": {"start": "21:00", "end": "08:00"},
        "blackouts": [{"start": hours[3], "end": hours[5]}],
        "cap": {"most": 3, "days": 7, "sent_at": [hours[0]]},
        "expires_at": hours[50],
    }
    values = {"engagement": 1.0, "unsubscribe": 50.0, "complaint": 100.0}
    for key in (_KNOWN, _UNKNOWN):
        one = {"recipient_key": key, "send_id": "rehearsal"}
        yield {"requests": [{"recipient_key": key}]}
        yield {"requests": [{**one, "candidates": items, "timezone": "America/New_York"}]}
        yield {"requests": [{**one, **window, "candidates": items, "explain": True}]}
        yield {"requests": [{**one, **window, "rules": rules, "values": values, "slot": "top"}]}
    keys = [key for _ in range(CHUNK // 2) for key in (_KNOWN, _UNKNOWN)]
    batch = [{"recipient_key": key, "candidates": items} for key in keys]
    yield {"requests": batch, "throttle": {"per_hour": 10}}
