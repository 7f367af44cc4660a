"""When to send: one hour of the window, or a reason to wait. Pure.

All that speaks about an hour is weighed at once: the chance of engagement, the sender's own hour,
the window and the sender's rules. The hour is only moved away from the sender's own when the
person has shown enough, or is surely of one kind, and the gain is worth it; an hour that has
passed or is forbidden is never chosen. Where no hour of the window is allowed the mail is not
lost in silence: the answer says so, by which rule, and which hour is allowed next.
"""

from dataclasses import dataclass, replace
from datetime import UTC, timedelta, timezone, tzinfo
from enum import StrEnum
from functools import lru_cache, partial
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US, HOUR_US, offset_at, zone_of
from features.layout import HOURS_PER_WEEK, local_hour, slot_of_hour
from serving.asks import Ask, Prediction
from serving.exploration import drawn_hour, hour_chance, is_hour_drawn
from serving.rules import FREE, Binding, Rules, most_binding

MIN_GAIN: Final = 0.01  # relative; below it the sender's hour stays
MIN_EVIDENCE: Final = 3  # active hours; below them the person's rhythm is nobody's
SURE_OF_KIND: Final = 0.5  # of one cohort, which then speaks for who has shown less
DEFAULT_WINDOW_H: Final = 24
LOOKS_AHEAD_H: Final = 31 * 24  # beyond the window, for an hour that is allowed


class ZoneSource(StrEnum):
    """Where the local clock comes from."""

    REQUEST = "request"
    EVENTS = "events"
    OFFSET = "offset"
    UNKNOWN = "unknown"


class Slot(NamedTuple):
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


# To call `Slot` is a call of Python, 24 times a recipient; this is the same without.
_SLOT: Final = partial(tuple.__new__, Slot)
_CHANCE: Final = attrgetter("p")


@dataclass(frozen=True, slots=True)
class SendTime:
    """The chosen hour beside the sender's own.

    Args:
        slots: The allowed hours of the window; all of them where none is allowed.
        forbidden_by: The rule that leaves no hour of the window, `NONE` where there is one. The
            best hour is then the next allowed one after the window, if `is_next_known`.
        propensity: The chance that this hour was chosen.
        is_explored: Whether it was drawn rather than the best.
    """

    best: Slot
    default: Slot
    slots: tuple[Slot, ...]
    zone: tzinfo
    zone_name: str
    zone_source: ZoneSource
    binding: Binding
    forbidden_by: Binding = Binding.NONE
    is_next_known: bool = True
    propensity: float = 1.0
    is_explored: bool = False


@dataclass(frozen=True, slots=True)
class _Window:
    """The hours that could be, each with the rule that forbids it.

    Args:
        wanted: The sender's own.
        end: Of the window, microseconds.
        is_free: Whether no rule was asked, so that every hour is allowed.
    """

    every: tuple[Slot, ...]
    forbidden: tuple[Binding, ...]
    wanted: Slot
    end: int
    has_passed: bool
    is_free: bool

    @property
    def allowed(self) -> tuple[Slot, ...]:
        if self.is_free:
            return self.every
        pairs = zip(self.every, self.forbidden, strict=True)
        return tuple(slot for slot, rule in pairs if rule is Binding.NONE)

    def rule_at(self, slot: Slot) -> Binding:
        return self.forbidden[self.every.index(slot)]


def send_time(ask: Ask, prediction: Prediction, *, now: int, is_personal: bool = True) -> SendTime:
    """Choose among the whole hours of the window (the next 24 hours when none is given).

    Args:
        is_personal: False for who is held out: the sender's own hour, or the nearest allowed one.
    """
    zone, name, source = _zone(ask, prediction)
    rules = ask.rules
    if rules.cap is not None:
        rules = rules.knowing(_delivered_at(prediction, now))
    window = _window(ask, prediction, rules, zone, now)
    allowed, wanted = window.allowed, window.wanted
    if not allowed:
        none = most_binding(window.forbidden)
        chosen = SendTime(wanted, wanted, window.every, zone, name, source, none, none)
        return _later(chosen, rules, prediction, window.end)
    default = wanted if wanted in allowed else _nearest(allowed, ask.default_at or wanted.at)
    best, binding = default, Binding.HOLDOUT
    if is_personal:
        best, binding = _best(allowed, default, prediction, has_passed=window.has_passed)
    if len(allowed) < len(window.every) and binding is not Binding.WINDOW_PASSED:
        binding = _rule_between(window, best, binding)
    if binding is Binding.NONE and (ask.window_from or ask.window_to):
        week = float(np.max(prediction.p_engage))
        binding = Binding.WINDOW if week > best.p * (1.0 + MIN_GAIN) else Binding.NONE
    return SendTime(best, default, allowed, zone, name, source, binding)


def explored(chosen: SendTime, named: str, *, epsilon: float) -> SendTime:
    """The same, or with probability `epsilon` another of the allowed hours, each alike.

    Args:
        named: The decision's id, all that the draw depends on.
    """
    if chosen.forbidden_by is not Binding.NONE or len(chosen.slots) == 1:
        return chosen
    best, is_explored = chosen.best, is_hour_drawn(named, epsilon)
    if is_explored:
        moments = [slot.at for slot in chosen.slots]
        best = chosen.slots[moments.index(drawn_hour(named, moments))]
    chance = hour_chance(len(chosen.slots), epsilon, is_best=best.at == chosen.best.at)
    # `dataclasses.replace` takes twice as long, once a recipient.
    return SendTime(
        best, chosen.default, chosen.slots, chosen.zone, chosen.zone_name, chosen.zone_source,
        chosen.binding, chosen.forbidden_by, chosen.is_next_known, chance, is_explored,
    )  # fmt: skip


def _window(ask: Ask, prediction: Prediction, rules: Rules, zone: tzinfo, now: int) -> _Window:
    start = max(now, ask.window_from or now)
    end = ask.window_to or start + DEFAULT_WINDOW_H * HOUR_US
    # Closed, or too short for a whole hour: as soon as allowed is no whole hour.
    moments = _hours_between(start, end) or (start,)
    every = _slots_at(prediction, moments, zone)
    is_free = rules is FREE
    forbidden = (Binding.NONE,) * len(every)
    if not is_free:
        forbidden = tuple(rules.forbids(at, zone) for at in moments)
    if ask.default_at:
        wanted = _nearest(every, ask.default_at)
    else:
        wanted = every[_usual(moments, zone, prediction.default_hour)]
    return _Window(every, forbidden, wanted, end, has_passed=end < start, is_free=is_free)


def _best(
    allowed: tuple[Slot, ...], default: Slot, prediction: Prediction, *, has_passed: bool
) -> tuple[Slot, Binding]:
    """The hour with the best chance, or the default where that is not worth it."""
    best = max(allowed, key=_CHANCE)  # of equal ones the first
    if has_passed:
        return best, Binding.WINDOW_PASSED
    if best.at != default.at:
        if not _is_told(prediction):
            return default, Binding.LITTLE_EVIDENCE
        if best.p < default.p * (1.0 + MIN_GAIN):
            return default, Binding.LITTLE_GAIN
    return best, Binding.NONE


def _rule_between(window: _Window, best: Slot, binding: Binding) -> Binding:
    """The rule that keeps a better hour from being chosen, or the sender's own from staying."""
    if binding is not Binding.NONE:
        rule = window.rule_at(window.wanted)
        return rule if rule is not Binding.NONE else binding
    better = max(window.every, key=_CHANCE)
    return window.rule_at(better) if better.p > best.p * (1.0 + MIN_GAIN) else binding


def _later(chosen: SendTime, rules: Rules, prediction: Prediction, end: int) -> SendTime:
    """The first hour after the window that is allowed; the sender's own where there is none."""
    first = max(end, chosen.slots[-1].at) // HOUR_US * HOUR_US + HOUR_US
    hours = range(first, first + LOOKS_AHEAD_H * HOUR_US, HOUR_US)
    at = next((h for h in hours if rules.forbids(h, chosen.zone) is Binding.NONE), None)
    best = chosen.best if at is None else _slots_at(prediction, (at,), chosen.zone)[0]
    return replace(chosen, best=best, is_next_known=at is not None)


def _delivered_at(prediction: Prediction, now: int) -> int:
    """The newest delivery among the events, zero for none."""
    days = prediction.features.get("days_since_delivered", np.nan)
    return 0 if np.isnan(days) else now - round(days * DAY_US)


def _is_told(prediction: Prediction) -> bool:
    """Whether a person has shown enough, or what there is points to one cohort."""
    active = prediction.features.get("active_total", 0.0)
    return active >= MIN_EVIDENCE or (active > 0 and prediction.concentration > SURE_OF_KIND)


def _slots_at(prediction: Prediction, moments: tuple[int, ...], zone: tzinfo) -> tuple[Slot, ...]:
    hours = _hours_of_week(moments, zone)
    told = (prediction.p_engage, prediction.p_low, prediction.p_high)
    return tuple(map(_SLOT, zip(moments, *(week[hours].tolist() for week in told), strict=True)))


def _zone(ask: Ask, prediction: Prediction) -> tuple[tzinfo, str, ZoneSource]:
    for name, source in ((ask.timezone, ZoneSource.REQUEST), (prediction.zone, ZoneSource.EVENTS)):
        zone = zone_of(name) if name else None
        if zone is not None:
            return zone, name, source
    if prediction.has_offset:
        fixed = timezone(timedelta(minutes=prediction.zone_offset_min))
        return fixed, str(fixed), ZoneSource.OFFSET
    return UTC, "UTC", ZoneSource.UNKNOWN


def _hours_between(start: int, end: int) -> tuple[int, ...]:
    """Whole hours of UTC in [start, end], a week's worth at most: no hour lost or doubled."""
    return _hours(-(-start // HOUR_US), end // HOUR_US)


@lru_cache(maxsize=512)  # everybody's mails go out in the same few hours
def _hours(first: int, last: int) -> tuple[int, ...]:
    return tuple(hour * HOUR_US for hour in range(first, last + 1)[:HOURS_PER_WEEK])


@lru_cache(maxsize=512)
def _hours_of_week(moments: tuple[int, ...], zone: tzinfo) -> NDArray[np.int64]:
    return np.array([_slot(at, zone) for at in moments])


@lru_cache(maxsize=4_096)
def _slot(at: int, zone: tzinfo) -> int:
    return slot_of_hour(local_hour(at, offset_at(zone, at)))


@lru_cache(maxsize=512)
def _usual(moments: tuple[int, ...], zone: tzinfo, default_hour: int) -> int:
    """The place of the hour of day that suits most people, where the sender names none."""
    hours = (place for place, at in enumerate(moments) if _slot(at, zone) % 24 == default_hour % 24)
    return next(hours, 0)


def _nearest(slots: tuple[Slot, ...], at: int) -> Slot:
    return min(slots, key=lambda slot: (abs(slot.at - at), slot.at))
