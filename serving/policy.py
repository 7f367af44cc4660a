"""Predictions to the rest of a decision: whose turn it is, which band, which order, and why. Pure.

The order is best first, but for the mails that explore (`exploration`); a few recipients are held
out and get what the sender would have sent, so that anybody can say what all of this is worth.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final

from features.events.schema import SECOND_US
from models.specs.churn import EDGES
from serving.asks import Ask
from serving.hours import MIN_EVIDENCE

if TYPE_CHECKING:
    from serving.settings import ServingSettings

POLICY: Final = "default@3"
STAYS: Final = 0.05  # so far past an edge a known band moves


class Band(StrEnum):
    """Churn risk in words."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


BANDS: Final = tuple(Band)


class ReasonCode(StrEnum):
    """What stands out in a recipient's features."""

    CADENCE_RISING = "CADENCE_RISING"
    CADENCE_SLOWING = "CADENCE_SLOWING"
    CART_PENDING = "CART_PENDING"
    LONG_SILENCE = "LONG_SILENCE"
    NEW_RECIPIENT = "NEW_RECIPIENT"
    OPTED_OUT = "OPTED_OUT"


def band(p_churn: float, previous: str = "") -> Band:
    """Risk in words; the edges are fixed, so the same number is the same word tomorrow.

    Args:
        previous: The recipient's last band. It stays until the number is clearly past the edge,
            so that nobody goes to and fro between two segments because of noise.

    >>> band(0.36), band(0.36, "low"), band(0.42, "low")
    (<Band.MEDIUM: 'medium'>, <Band.LOW: 'low'>, <Band.MEDIUM: 'medium'>)
    """
    if not previous:
        return BANDS[bisect_right(EDGES, p_churn)]
    before = BANDS.index(Band(previous))
    edges = [
        edge + (STAYS if before < place else -STAYS) for place, edge in enumerate(EDGES, start=1)
    ]
    return BANDS[bisect_right(edges, p_churn)]


@dataclass(frozen=True, slots=True)
class Policy:
    """How decisions are made of predictions.

    Args:
        epsilon: Share of mails whose first item is drawn.
        epsilon_hour: Share of mails whose hour is drawn.
        holdout: Share of recipients who are held out.
        salt: Who they are; another salt, other people.
    """

    epsilon: float = 0.0
    epsilon_hour: float = 0.0
    holdout: float = 0.0
    salt: str = ""

    @property
    def name(self) -> str:
        """The version with all that its chances depend on.

        >>> Policy(epsilon=0.05).name
        'default@3;epsilon=0.05;epsilon_hour=0;holdout=0'
        """
        return _named(self.epsilon, self.epsilon_hour, self.holdout)

    def of(self, ask: Ask) -> "Policy":
        """What it is for one ask: a dry run draws nothing, and a test is not held out."""
        if not ask.explore:
            return Policy()
        return replace(self, holdout=0.0) if ask.is_test else self

    def holds_out(self, recipient_key: str) -> bool:
        """Whether a recipient is held out: the same for every send, until the salt changes."""
        if self.holdout <= 0.0:
            return False
        hashed = hashlib.blake2b(
            recipient_key.encode(), key=self.salt.encode()[:64], person=b"holdout", digest_size=8
        )
        return int.from_bytes(hashed.digest()) < self.holdout * 2.0**64

    def id_of(self, ask: Ask) -> str:
        """Of a decision: the same for the same recipient, send, slot and policy."""
        return _id(self.name, ask.send_id, ask.slot, ask.recipient_key)


def policy_of(settings: "ServingSettings") -> Policy:
    """The policy that the settings ask for."""
    return Policy(settings.epsilon, settings.epsilon_hour, settings.holdout, settings.holdout_salt)


@lru_cache(maxsize=64)
def _named(epsilon: float, epsilon_hour: float, holdout: float) -> str:
    return f"{POLICY};epsilon={epsilon:g};epsilon_hour={epsilon_hour:g};holdout={holdout:g}"


@lru_cache(maxsize=8_192)  # asked for once to look up what was decided, and once to decide
def _id(name: str, send_id: str, slot: str, recipient_key: str) -> str:
    named = f"{_beginning(name, send_id, slot)}{encode_basestring_ascii(recipient_key)}]"
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=64)
def _beginning(*shared: str) -> str:
    """Of a list in JSON that goes on with the key of a recipient."""
    return json.dumps(shared)[:-1] + ", "


def reason_codes(features: Mapping[str, float]) -> list[ReasonCode]:
    """What stands out; empty for a recipient without features."""
    if not features:
        return []
    trend = features["active_velocity_hl30d_hl120d"]
    has_history = features["active_total"] >= MIN_EVIDENCE
    holds = (
        (ReasonCode.CADENCE_RISING, has_history and trend > 0.3),
        (ReasonCode.CADENCE_SLOWING, has_history and trend < -0.3),
        (ReasonCode.CART_PENDING, features["cart_open"] > 0),
        (ReasonCode.LONG_SILENCE, features["days_since_active"] > 60),
        (ReasonCode.NEW_RECIPIENT, features["days_since_first_active"] < 30),
        (ReasonCode.OPTED_OUT, features["days_since_opted_out"] >= 0),
    )
    return [code for code, is_so in holds if is_so]


@lru_cache(maxsize=4_096)  # nearly all are the same few whole hours
def shown(at: int, zone: tzinfo) -> str:
    """A moment as ISO 8601 on the recipient's clock."""
    return datetime.fromtimestamp(at / SECOND_US, UTC).astimezone(zone).isoformat()
