"""A simulated world whose mails a running service decides: what that is worth, in its own truth.

Every send the service is asked over HTTP for each recipient's hour, hold and item; the world's
people answer, and at the end of each week what they did is posted as events. For every mail the
world also knows how likely its recipient engages within 24 h of it, and of the mail that the
sender would have sent: the same people at the same moment, so the difference is the decisions'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from features.events import world_chances as chance
from features.events.schema import HOUR_US, SECOND_US
from features.events.world_catalogue import TOPICS
from features.events.world_clock import WEEK_HOURS
from features.events.world_events import write_ndjson
from features.events.world_life import Life
from features.events.world_policy import DEFAULT_HOUR, Choice, Sending, as_logged
from pipelines.loop_service import Calendar
from serving.client import Answer, AskedOf, Client
from training.monitoring.arms import HOLDOUT

WINDOW_H: Final = 24
POSTED: Final = 2_000  # events of a call
# What the sender of the loop says a subscriber is worth, in engagements.
VALUES: Final = {"engagement": 1.0, "unsubscribe": 2.0, "complaint": 20.0}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """One send as it was decided, and what is true of it; arrays of shape (n,).

    Args:
        at: Microseconds, when its window begins.
        is_personal: Who was not held out.
        is_held: Whose mail did not go out.
        engages, engages_by_default: P(a person opens it within 24 h), zero where it is held.
        leaves, leaves_by_default: P(it makes them unsubscribe or complain).
    """

    at: int
    decision_ids: list[str]
    is_personal: NDArray[np.bool_]
    is_held: NDArray[np.bool_]
    engages: Floats
    engages_by_default: Floats
    leaves: Floats
    leaves_by_default: Floats
    reasons: list[str]


@dataclass(slots=True, eq=False)
class ClosedLoop:
    """A life, and the service that decides in it from a moment on.

    Args:
        since: Microseconds; earlier sends are decided by the policy of the logs.
        told_until: Up to where the service was told what happened.
    """

    life: Life
    client: Client
    calendar: Calendar
    since: int
    told_until: int = 0
    n_told: int = 0
    sent: list[Sent] = field(default_factory=list)
    last_asks: list[AskedOf] = field(default_factory=list)
    last_answers: list[Answer] = field(default_factory=list)

    def tell(self) -> None:
        """Post what happened since the last time, at the end of the week that was lived."""
        now = self.life.at
        self.calendar.set(now)
        known = self.life.events(before=now)
        fresh = known.filter(pl.col("occurred_at") >= self.told_until)
        for some in fresh.iter_slices(POSTED):
            stored = self.client.send_events(_as_events(some))
            self.n_told += stored.accepted
        self.told_until = now

    def decide(self, sending: Sending, rng: np.random.Generator) -> Choice:
        """Takes the place of the sender of the logs, as `simulate` wants it."""
        life = self.life.living
        if sending.starts_at < self.since:
            return as_logged(life.world, life.moods, sending, rng)
        self.calendar.set(sending.starts_at)
        self.last_asks = self._asks(sending)
        answers = self.last_answers = self.client.score_batch(self.last_asks)
        choice = _choice(sending, answers, self._items(sending.candidates))
        self.sent.append(self._true(sending, choice, answers))
        return choice

    def _asks(self, sending: Sending) -> list[AskedOf]:
        shared: dict[str, Any] = {
            "send_id": f"{self.life.prefix}send-{sending.number + 1:04}",
            "window_from": _moment(sending.starts_at),
            "window_to": _moment(sending.starts_at + WINDOW_H * HOUR_US - SECOND_US),
            "default_at": _moment(sending.starts_at + DEFAULT_HOUR * HOUR_US),
            "candidates": self._items(sending.candidates),
            "values": VALUES,
        }
        keys = self.life.keys
        return [{"recipient_key": keys[to], **shared} for to in sending.recipient.tolist()]  # type: ignore[typeddict-item]

    def _items(self, numbers: NDArray[np.int64]) -> list[Mapping[str, Any]]:
        catalogue = self.life.living.world.catalogue
        return [
            {
                "content_id": catalogue.content_ids[item],
                "topics": [TOPICS[t] for t in np.flatnonzero(catalogue.topics[item])],
            }
            for item in numbers.tolist()
        ]

    def _true(self, sending: Sending, choice: Choice, answers: Sequence[Answer]) -> Sent:
        to, goes = sending.recipient, ~choice.is_held
        usual = np.full(len(to), sending.candidates[0])
        engages, leaves = self._chances(sending, choice.hour, choice.item)
        by_default = self._chances(sending, np.full(len(to), DEFAULT_HOUR), usual)
        return Sent(
            sending.starts_at,
            [answer.decision_id for answer in answers],
            np.array([answer.arm != HOLDOUT for answer in answers]),
            choice.is_held,
            engages * goes,
            by_default[0],
            leaves * goes,
            by_default[1],
            [answer.fallback.reason for answer in answers],
        )

    def _chances(
        self, sending: Sending, hour: NDArray[np.int64], item: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """P(engages within 24 h) and P(leaves) by a mail of this hour and item, shape (n,)."""
        world, moods, to = self.life.living.world, self.life.living.moods, sending.recipient
        at = sending.starts_at + hour * HOUR_US
        wants = chance.wants(world, moods, to, item)
        engages = wants * chance.noticed(world, moods, to, at, WINDOW_H)
        p = world.parameters
        leaves = (p.p_unsubscribe + p.p_complain) * chance.weariness(moods, to)
        return engages, leaves * chance.noticed(world, moods, to, at, WEEK_HOURS)


@dataclass(frozen=True, slots=True)
class Worth:
    """What some sends were worth beside the default policy, for who was not held out.

    Args:
        lift: Of the engagements within 24 h per mail that went out, relatively.
        gained: Engagements within 24 h per recipient and send, ours over the default's.
        left: Opt-outs and complaints per recipient and send, ours over the default's.
        held: Share of the mails that were held back.
    """

    n: int
    lift: float
    gained: float
    left: float
    held: float
    fallbacks: float


def worth(sent: Sequence[Sent]) -> Worth:
    """What is true of some sends together."""
    personal = [one.is_personal for one in sent]

    def total(name: str) -> float:
        return float(
            sum(getattr(one, name)[mine].sum() for one, mine in zip(sent, personal, strict=True))
        )

    n = int(sum(mine.sum() for mine in personal))
    held = total("is_held")
    ours, theirs = total("engages"), total("engages_by_default")
    return Worth(
        n,
        (ours / (n - held)) / (theirs / n) - 1,
        ours / theirs - 1,
        total("leaves") / total("leaves_by_default") - 1,
        held / n,
        sum(reason != "none" for one in sent for reason in one.reasons)
        / sum(len(one.reasons) for one in sent),
    )


def sent_since(sent: Sequence[Sent], begin: int) -> list[Sent]:
    """The sends of windows that begin at a moment or later."""
    return [one for one in sent if one.at >= begin]


def _choice(
    sending: Sending, answers: Sequence[Answer], items: Sequence[Mapping[str, Any]]
) -> Choice:
    place = {item["content_id"]: n for n, item in enumerate(items)}
    starts_s = sending.starts_at // SECOND_US
    hours = [(a.send_time.best_at_epoch - starts_s) * SECOND_US // HOUR_US for a in answers]
    return Choice(
        hour=np.array(hours, np.int64),
        item=sending.candidates[[place[a.content.variant] for a in answers]],
        p_hour=np.array([a.send_time.propensity for a in answers]),
        p_item=np.array([a.content.propensity for a in answers]),
        is_held=np.array([a.hold.hold_back for a in answers], np.bool_),
    )


def _as_events(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """As a sender would post them; when they were received is for the service to say."""
    lines = BytesIO()
    write_ndjson(frame, lines)
    events = [orjson.loads(line) for line in lines.getvalue().splitlines()]
    for event in events:
        del event["received_at"]
    return events


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND_US, UTC).isoformat()
