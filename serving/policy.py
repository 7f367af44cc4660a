"""Predictions to one decision: which hour, which band, which order, and why. Pure.

The hour is only moved away from the sender's own when the person has shown enough, or is surely
of one kind, and the gain is worth it; an hour that has passed is never chosen, and the window is
never left. The order is best first, but for the mails that explore (`exploration`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Final

import numpy as np

from features.events.schema import HOUR_US, SECOND_US, offset_at, zone_of
from features.layout import HOURS_PER_WEEK, local_hour, slot_of_hour
from serving.asks import Ask, Prediction
from serving.exploration import FirstPlace, first_place

POLICY: Final = "default@2"  # its full name also says epsilon: `policy_name`
MIN_GAIN: Final = 0.01  # relative; below it the sender's hour stays
MIN_EVIDENCE: Final = 3  # active hours; below them the person's rhythm is nobody's
SURE_OF_KIND: Final = 0.5  # of one cohort, which then speaks for who has shown less
DEFAULT_WINDOW_H: Final = 24
EDGES: Final = (0.35, 0.65)  # of the bands of churn
STAYS: Final = 0.05  # so far past an edge a known band moves


class Band(StrEnum):
    """Churn risk in words."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


BANDS: Final = tuple(Band)


class ZoneSource(StrEnum):
    """Where the local clock comes from."""

    REQUEST = "request"
    EVENTS = "events"
    OFFSET = "offset"
    UNKNOWN = "unknown"


class Binding(StrEnum):
    """What kept a better hour from being chosen."""

    NONE = "none"
    WINDOW = "window"
    WINDOW_PASSED = "window_passed"
    LITTLE_EVIDENCE = "little_evidence"
    LITTLE_GAIN = "little_gain"


class ReasonCode(StrEnum):
    """What stands out in a recipient's features."""

    CADENCE_RISING = "CADENCE_RISING"
    CADENCE_SLOWING = "CADENCE_SLOWING"
    CART_PENDING = "CART_PENDING"
    LONG_SILENCE = "LONG_SILENCE"
    NEW_RECIPIENT = "NEW_RECIPIENT"
    OPTED_OUT = "OPTED_OUT"


@dataclass(frozen=True, slots=True)
class Slot:
    """One hour a mail could go out.

    Args:
        at: Its moment, microseconds.
        p: P(engage within 24 h).
        low, high: The ends of a 90 % interval on it.
    """

    at: int
    p: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SendTime:
    """The chosen hour beside the sender's own."""

    best: Slot
    default: Slot
    slots: tuple[Slot, ...]
    zone: tzinfo
    zone_name: str
    zone_source: ZoneSource
    binding: Binding


def send_time(ask: Ask, prediction: Prediction, *, now: int) -> SendTime:
    """Choose among the whole hours of the window (the next 24 hours when none is given)."""
    zone, name, source = _zone(ask, prediction)
    start = max(now, ask.window_from or now)
    end = ask.window_to or start + DEFAULT_WINDOW_H * HOUR_US
    moments = _hours_between(start, end)
    has_passed = end < start
    if not moments:  # closed, or too short for a whole hour: as soon as allowed is no whole hour
        moments = [start]
    slots = tuple(_slot_at(prediction, at, zone) for at in moments)
    default = _default(ask, slots, zone, prediction.default_hour)
    best = max(slots, key=lambda slot: (slot.p, -slot.at))
    binding = Binding.WINDOW_PASSED if has_passed else Binding.NONE
    if not has_passed and best.at != default.at:
        if not _is_told(prediction):
            best, binding = default, Binding.LITTLE_EVIDENCE
        elif best.p < default.p * (1.0 + MIN_GAIN):
            best, binding = default, Binding.LITTLE_GAIN
    if binding is Binding.NONE and (ask.window_from or ask.window_to):
        week = float(np.max(prediction.p_engage))
        binding = Binding.WINDOW if week > best.p * (1.0 + MIN_GAIN) else Binding.NONE
    return SendTime(best, default, slots, zone, name, source, binding)


def band(p_churn: float, previous: str = "") -> Band:
    """Risk in words; the edges are fixed, so the same number is the same word tomorrow.

    Args:
        previous: The recipient's last band. It stays until the number is clearly past the edge,
            so that nobody goes to and fro between two segments because of noise.

    >>> band(0.36), band(0.36, "low"), band(0.42, "low")
    (<Band.MEDIUM: 'medium'>, <Band.LOW: 'low'>, <Band.MEDIUM: 'medium'>)
    """
    if not previous:
        return BANDS[sum(p_churn >= edge for edge in EDGES)]
    before = BANDS.index(Band(previous))
    edges = [
        edge + (STAYS if before < place else -STAYS) for place, edge in enumerate(EDGES, start=1)
    ]
    return BANDS[sum(p_churn >= edge for edge in edges)]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates with their chances in the order to show; `first` is None without candidates."""

    rows: list[tuple[str, float]]
    first: FirstPlace | None


def ranking(ask: Ask, prediction: Prediction, *, epsilon: float = 0.0) -> Ranking:
    """Candidates by chance, best first, equal ones as asked; maybe another drawn to the front."""
    ids = [candidate.content_id for candidate in ask.candidates]
    order = np.argsort(-prediction.p_items, kind="stable").tolist()
    if not order:
        return Ranking([], None)
    delivered = dict(zip(ids, prediction.delivered.tolist(), strict=True))
    named = decision_id(ask, epsilon=epsilon)
    first = first_place(named, ids[order[0]], delivered, epsilon=epsilon)
    front = next(i for i in order if ids[i] == first.content_id)
    order.remove(front)
    order.insert(0, front)
    return Ranking([(ids[i], float(prediction.p_items[i])) for i in order], first)


def reason_codes(features: Mapping[str, float]) -> list[ReasonCode]:
    """What stands out; empty for a recipient without features."""
    if not features:
        return []
    trend = features["active_velocity_hl30d_hl120d"]
    has_history = features["active_total"] >= MIN_EVIDENCE
    holds = {
        ReasonCode.CADENCE_RISING: has_history and trend > 0.3,
        ReasonCode.CADENCE_SLOWING: has_history and trend < -0.3,
        ReasonCode.CART_PENDING: features["cart_open"] > 0,
        ReasonCode.LONG_SILENCE: features["days_since_active"] > 60,
        ReasonCode.NEW_RECIPIENT: features["days_since_first_active"] < 30,
        ReasonCode.OPTED_OUT: features["days_since_opted_out"] >= 0,
    }
    return [code for code, is_so in holds.items() if is_so]


def policy_name(epsilon: float) -> str:
    """The policy's version with the share of decisions that it explores.

    >>> policy_name(0.05)
    'default@2;epsilon=0.05'
    """
    return f"{POLICY};epsilon={epsilon:g}"


def decision_id(ask: Ask, *, epsilon: float = 0.0) -> str:
    """The same for the same recipient, send and policy, however often a mail is rendered."""
    named = json.dumps([policy_name(epsilon), ask.send_id, ask.recipient_key])
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


def shown(at: int, zone: tzinfo) -> str:
    """A moment as ISO 8601 on the recipient's clock."""
    return datetime.fromtimestamp(at / SECOND_US, UTC).astimezone(zone).isoformat()


def _is_told(prediction: Prediction) -> bool:
    """Whether a person has shown enough, or what there is points to one cohort."""
    active = prediction.features.get("active_total", 0.0)
    return active >= MIN_EVIDENCE or (active > 0 and prediction.concentration > SURE_OF_KIND)


def _slot_at(prediction: Prediction, at: int, zone: tzinfo) -> Slot:
    hour = _slot(at, zone)
    told = (prediction.p_engage, prediction.p_low, prediction.p_high)
    return Slot(at, *(float(week[hour]) for week in told))


def _zone(ask: Ask, prediction: Prediction) -> tuple[tzinfo, str, ZoneSource]:
    for name, source in ((ask.timezone, ZoneSource.REQUEST), (prediction.zone, ZoneSource.EVENTS)):
        zone = zone_of(name) if name else None
        if zone is not None:
            return zone, name, source
    if prediction.has_offset:
        fixed = timezone(timedelta(minutes=prediction.zone_offset_min))
        return fixed, str(fixed), ZoneSource.OFFSET
    return UTC, "UTC", ZoneSource.UNKNOWN


def _hours_between(start: int, end: int) -> list[int]:
    """Whole hours of UTC in [start, end], a week's worth at most: no hour lost or doubled."""
    first = -(-start // HOUR_US) * HOUR_US
    hours = range(first, end + 1, HOUR_US)
    return list(hours[:HOURS_PER_WEEK])


def _slot(at: int, zone: tzinfo) -> int:
    return slot_of_hour(local_hour(at, offset_at(zone, at)))


def _default(ask: Ask, slots: tuple[Slot, ...], zone: tzinfo, default_hour: int) -> Slot:
    """The sender's own hour; without one, the hour of day that suits most people."""
    if ask.default_at:
        return min(slots, key=lambda slot: (abs(slot.at - ask.default_at), slot.at))
    day_hour = default_hour % 24
    return next((s for s in slots if _slot(s.at, zone) % 24 == day_hour), slots[0])
