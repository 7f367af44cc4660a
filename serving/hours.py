"""When to send: one hour of the window, or a reason to wait. Pure.

All that speaks about an hour is weighed at once: the chance of engagement, the sender's own hour,
the window and the sender's rules. The hour is only moved away from the sender's own when the
person has shown enough, or is surely of one kind, and the gain is worth it; an hour that has
passed or is forbidden is never chosen. Where no hour of the window is allowed the mail is not
lost in silence: the answer says so, by which rule, and which hour is allowed next.

Mails that ask alike share a window, and their chances are compared in one array.
"""

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.events.schema import DAY_US, HOUR_US
from features.layout import HOURS_PER_WEEK
from serving.asks import Ask, Prediction
from serving.exploration import drawn_hour, hour_chance, is_hour_drawn
from serving.rules import Binding, Rules, most_binding
from serving.window import Asked, Window, hours_of_week, window_of
from serving.zones import LocalClock, ZoneSource, clock_of

MIN_GAIN: Final = 0.01  # relative; below it the sender's hour stays
MIN_EVIDENCE: Final = 3  # active hours; below them the person's rhythm is nobody's
SURE_OF_KIND: Final = 0.5  # of one cohort, which then speaks for who has shown less
LOOKS_AHEAD_H: Final = 31 * 24  # beyond the window, for an hour that is allowed


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


class SendTime(NamedTuple):
    """The chosen hour beside the sender's own.

    Args:
        moments: The allowed hours of the window; all of them where none is allowed.
        told: What is said of each: p, low and high, side by side.
        shown: The chances p to six digits.
        forbidden_by: The rule that leaves no hour of the window, `NONE` where there is one. The
            best hour is then the next allowed one after the window, if `is_next_known`.
        propensity: The chance that this hour was chosen.
        is_explored: Whether it was drawn rather than the best.
    """

    best: Slot
    default: Slot
    moments: tuple[int, ...]
    told: Sequence[Sequence[float]]
    shown: Sequence[float]
    zone: tzinfo
    zone_name: str
    zone_source: ZoneSource
    binding: Binding
    forbidden_by: Binding = Binding.NONE
    is_next_known: bool = True
    propensity: float = 1.0
    is_explored: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The hours of `moments`."""
        return tuple(map(Slot, self.moments, *self.told))

    def slot_at(self, at: int) -> Slot | None:
        """One of them, if it is among them."""
        return (
            _slot(self.moments, self.told, self.moments.index(at)) if at in self.moments else None
        )


def send_time(ask: Ask, prediction: Prediction, *, now: int, is_personal: bool = True) -> SendTime:
    """Choose among the whole hours of the window (the next 24 hours when none is given).

    Args:
        is_personal: False for who is held out: the sender's own hour, or the nearest allowed one.
    """
    return send_times([ask], [prediction], now=now, is_personal=[is_personal])[0]


def send_times(
    asks: Sequence[Ask],
    predictions: Sequence[Prediction],
    *,
    now: int,
    is_personal: Sequence[bool],
) -> list[SendTime]:
    """The same for many, in their order."""
    alike: dict[tuple[Asked, LocalClock], list[int]] = {}
    for row, (ask, told) in enumerate(zip(asks, predictions, strict=True)):
        clock = clock_of(ask.timezone, told.zone, told.zone_offset_min if told.has_offset else None)
        rules = ask.rules
        if rules.cap is not None:
            rules = rules.knowing(_delivered_at(told, now))
        asked = Asked(
            clock.zone, rules, ask.window_from, ask.window_to, ask.default_at, told.default_hour
        )
        alike.setdefault((asked, clock), []).append(row)
    chosen: dict[int, SendTime] = {}
    for (asked, clock), rows in alike.items():
        some = [predictions[row] for row in rows]
        window = window_of(asked, now)
        if window.allowed:
            own = [is_personal[row] for row in rows]
            chosen |= zip(rows, _chosen(window, clock, some, own), strict=True)
        else:
            chosen |= zip(rows, _later(window, clock, asked.rules, some), strict=True)
    return [chosen[row] for row in range(len(asks))]


def explored(chosen: SendTime, named: str, *, epsilon: float) -> SendTime:
    """The same, or with probability `epsilon` another of the allowed hours, each alike.

    Args:
        named: The decision's id, all that the draw depends on.
    """
    moments = chosen.moments
    if chosen.forbidden_by is not Binding.NONE or len(moments) == 1:
        return chosen
    best, is_explored = chosen.best, is_hour_drawn(named, epsilon)
    if is_explored:
        best = _slot(moments, chosen.told, moments.index(drawn_hour(named, moments)))
    chance = hour_chance(len(moments), epsilon, is_best=best.at == chosen.best.at)
    # `_replace` takes twice as long, once a recipient.
    return SendTime(best, *chosen[1:11], chance, is_explored)


def _weeks(some: Sequence[Prediction]) -> NDArray[np.float32]:
    """What is said of each hour of each one's week: p, low and high, shape (n, 3, 168)."""
    parts = [part for one in some for part in (one.p_engage, one.p_low, one.p_high)]
    return np.concatenate(parts).reshape(len(some), 3, HOURS_PER_WEEK)


def _chosen(
    window: Window, clock: LocalClock, some: Sequence[Prediction], own: Sequence[bool]
) -> list[SendTime]:
    """An allowed hour for each; `own` is False for who is held out."""
    weeks = _weeks(some)
    every = weeks.take(window.of_week, axis=2)
    moments, allowed = window.moments, every
    if not window.is_free:
        moments = tuple(window.moments[place] for place in window.allowed)
        allowed = every.take(window.allowed, axis=2)
    # Of equal hours the first.
    tops = [window.allowed[place] for place in allowed[:, 0].argmax(axis=1).tolist()]
    peaks = weeks[:, 0].max(axis=1).tolist() if window.is_given else [0.0] * len(some)
    lists = every.tolist()
    open_lists = lists if window.is_free else allowed.tolist()
    found = []
    for one, is_own, told, open_to, shown, top, peak in zip(
        some, own, lists, open_lists, rounded(allowed[:, 0]).tolist(), tops, peaks, strict=True
    ):
        chances = told[0]
        place, binding = window.default, Binding.HOLDOUT
        if is_own:
            place, binding = _best(window, chances, top, one)
        if not window.is_free and binding is not Binding.WINDOW_PASSED:
            binding = _rule_between(window, chances, place, binding)
        if binding is Binding.NONE and peak > chances[place] * (1.0 + MIN_GAIN):
            binding = Binding.WINDOW
        default = best = _slot(window.moments, told, window.default)
        if place != window.default:
            best = _slot(window.moments, told, place)
        found.append(SendTime(best, default, moments, open_to, shown, *clock, binding))
    return found


def _best(
    window: Window, chances: Sequence[float], top: int, prediction: Prediction
) -> tuple[int, Binding]:
    """The place of the best chance, or the default's where that is not worth it."""
    if window.has_passed:
        return top, Binding.WINDOW_PASSED
    default = window.default
    if top != default:
        if not _is_told(prediction):
            return default, Binding.LITTLE_EVIDENCE
        if chances[top] < chances[default] * (1.0 + MIN_GAIN):
            return default, Binding.LITTLE_GAIN
    return top, Binding.NONE


def _rule_between(
    window: Window, chances: Sequence[float], place: int, binding: Binding
) -> Binding:
    """The rule that keeps a better hour from being chosen, or the sender's own from staying."""
    if binding is not Binding.NONE:
        rule = window.forbidden[window.wanted]
        return rule if rule is not Binding.NONE else binding
    better = max(range(len(chances)), key=chances.__getitem__)
    is_better = chances[better] > chances[place] * (1.0 + MIN_GAIN)
    return window.forbidden[better] if is_better else binding


def _later(
    window: Window, clock: LocalClock, rules: Rules, some: Sequence[Prediction]
) -> list[SendTime]:
    """The first hour after the window that is allowed; the sender's own where there is none."""
    first = max(window.end, window.moments[-1]) // HOUR_US * HOUR_US + HOUR_US
    hours = range(first, first + LOOKS_AHEAD_H * HOUR_US, HOUR_US)
    at = next((h for h in hours if rules.forbids(h, clock.zone) is Binding.NONE), None)
    rule, weeks = most_binding(window.forbidden), _weeks(some)
    every = weeks.take(window.of_week, axis=2)
    shown = rounded(every[:, 0]).tolist()
    beyond = None
    if at is not None:
        beyond = weeks[:, :, hours_of_week((at,), clock.zone)].tolist()
    found = []
    for row, told in enumerate(every.tolist()):
        default = best = _slot(window.moments, told, window.wanted)
        if at is not None and beyond is not None:
            best = _slot((at,), beyond[row], 0)
        found.append(
            SendTime(
                best, default, window.moments, told, shown[row], *clock, rule,
                forbidden_by=rule, is_next_known=at is not None,
            )
        )  # fmt: skip
    return found


def _delivered_at(prediction: Prediction, now: int) -> int:
    """The newest delivery among the events, zero for none."""
    days = prediction.features.get("days_since_delivered", np.nan)
    return 0 if np.isnan(days) else now - round(days * DAY_US)


def _is_told(prediction: Prediction) -> bool:
    """Whether a person has shown enough, or what there is points to one cohort."""
    active = prediction.features.get("active_total", 0.0)
    return active >= MIN_EVIDENCE or (active > 0 and prediction.concentration > SURE_OF_KIND)


def rounded(chances: NDArray[Any]) -> NDArray[np.float64]:
    """As they are shown: to six digits."""
    return chances.astype(np.float64).round(6)


def _slot(moments: Sequence[int], told: Sequence[Sequence[float]], place: int) -> Slot:
    chances, lows, highs = told
    return Slot(moments[place], chances[place], lows[place], highs[place])
