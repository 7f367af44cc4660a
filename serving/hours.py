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
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np

from features.events.schema import DAY_US, HOUR_US
from serving.asks import Ask, Prediction
from serving.columns import rows_of
from serving.exploration import drawn_hour, hour_chance, is_hour_drawn
from serving.rules import FREE, Binding, Rules, most_binding
from serving.slots import Slot, Told
from serving.window import Asked, Window, hours_of_week, window_of
from serving.zones import LocalClock, clock_of

MIN_GAIN: Final = 0.01  # relative; below it the sender's hour stays
MIN_EVIDENCE: Final = 3  # active hours; below them the person's rhythm is nobody's
SURE_OF_KIND: Final = 0.5  # of one cohort, which then speaks for who has shown less
LOOKS_AHEAD_H: Final = 31 * 24  # beyond the window, for an hour that is allowed

Draw = tuple[str, float]  # the decision's id, all that a draw depends on, and its chance
NO_DRAW: Final[Draw] = ("", 0.0)
# Where these bind, the hour is the best of those that are allowed.
_MOVED: Final = frozenset({Binding.NONE, Binding.WINDOW_PASSED})


class SendTime(NamedTuple):
    """The chosen hour beside the sender's own.

    Args:
        told: What is said of the allowed hours of the window; of all of them where none is.
        row: The recipient's there.
        forbidden_by: The rule that leaves no hour of the window, `NONE` where there is one. The
            best hour is then the next allowed one after the window, if `is_next_known`.
        propensity: The chance that this hour was chosen.
        is_explored: Whether it was drawn rather than the best.
    """

    best: Slot
    default: Slot
    told: Told
    row: int
    clock: LocalClock
    binding: Binding
    forbidden_by: Binding = Binding.NONE
    is_next_known: bool = True
    propensity: float = 1.0
    is_explored: bool = False

    @property
    def zone(self) -> tzinfo:
        """That the recipient lives by."""
        return self.clock.zone

    @property
    def moments(self) -> tuple[int, ...]:
        """Of the hours that are told of, microseconds."""
        return self.told.moments

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What is said of each."""
        return self.told.slots(self.row)

    @property
    def shown(self) -> list[float]:
        """The chances p to six digits."""
        return self.told.shown(self.row)

    def slot_at(self, at: int) -> Slot | None:
        """One of them, if it is among them."""
        moments = self.moments
        return self.told.slot(self.row, moments.index(at)) if at in moments else None


def send_time(ask: Ask, prediction: Prediction, *, now: int, is_personal: bool = True) -> SendTime:
    """Choose among the whole hours of the window (the next 24 hours when none is given).

    Args:
        is_personal: False for who is held out: the sender's own hour, or the nearest allowed one.
    """
    return send_times([ask], [prediction], now=now, draws=[NO_DRAW if is_personal else None])[0]


def send_times(
    asks: Sequence[Ask],
    predictions: Sequence[Prediction],
    *,
    now: int,
    draws: Sequence[Draw | None],
) -> list[SendTime]:
    """The same for many, in their order.

    Args:
        draws: Per ask how another of the allowed hours may be drawn; None for who is held out.
    """
    alike: dict[tuple[object, ...], tuple[Asked, LocalClock, list[int]]] = {}
    for row, (ask, told) in enumerate(zip(asks, predictions, strict=True)):
        clock = clock_of(ask.timezone, told.zone, told.zone_offset_min if told.has_offset else None)
        rules = ask.rules
        if rules.cap is not None:
            rules = rules.knowing(_delivered_at(told, now))
        own = ask.window_from, ask.window_to, ask.default_at, told.default_hour
        # The first of a group keeps both objects alive: nobody else has their ids meanwhile.
        key = id(told.weeks), id(clock), None if rules is FREE else rules, own
        if key not in alike:
            alike[key] = Asked(clock.zone, rules, *own), clock, []
        alike[key][2].append(row)
    windows: dict[Asked, Window] = {}
    chosen: dict[int, SendTime] = {}
    for asked, clock, rows in alike.values():
        some = [predictions[row] for row in rows]
        window = windows.get(asked) or windows.setdefault(asked, window_of(asked, now))
        if window.allowed:
            chosen |= zip(rows, _chosen(window, clock, some, [draws[r] for r in rows]), strict=True)
        else:
            chosen |= zip(rows, _later(window, clock, asked.rules, some), strict=True)
    return [chosen[row] for row in range(len(asks))]


def _chosen(
    window: Window, clock: LocalClock, some: Sequence[Prediction], draws: Sequence[Draw | None]
) -> list[SendTime]:
    """An allowed hour for each."""
    moments, of_week = window.moments, window.of_week
    if not window.is_free:
        moments = tuple(moments[place] for place in window.allowed)
        of_week = of_week.take(window.allowed)
    told = Told(moments, of_week, some)
    default = window.allowed.index(window.default)
    tops = told.p.argmax(axis=1)  # of equal hours the first
    peaks = told.peaks if window.is_given else [0.0] * len(some)
    usuals = told.at_place(default)
    columns = some, draws, tops.tolist(), told.at_places(tops), usuals, peaks
    every = None if window.is_free else Told(window.moments, window.of_week, some)
    bests, bindings, chances, are_explored = [], [], [], []
    for row, (one, draw, top, best, usual, peak) in enumerate(zip(*columns, strict=True)):
        binding = Binding.HOLDOUT if draw is None else _kept_by(window, best, usual, one)
        chosen, place = (best, top) if binding in _MOVED else (usual, default)
        if every is not None and binding is not Binding.WINDOW_PASSED:
            binding = _rule_between(window, every.chances(row), chosen.p, binding)
        if binding is Binding.NONE and peak > chosen.p * (1.0 + MIN_GAIN):
            binding = Binding.WINDOW
        chance, is_explored = 1.0, False
        if draw is not None and draw[1] > 0.0 and len(moments) > 1:
            drawn, chance, is_explored = _drawn(moments, place, draw)
            chosen = chosen if drawn == place else told.slot(row, drawn)
        bests.append(chosen)
        bindings.append(binding)
        chances.append(chance)
        are_explored.append(is_explored)
    allowed = repeat(Binding.NONE), repeat(True)  # noqa: FBT003  a column
    return rows_of(
        SendTime, bests, usuals, repeat(told), range(len(some)), repeat(clock), bindings,
        *allowed, chances, are_explored,
    )  # fmt: skip


def _drawn(moments: Sequence[int], place: int, draw: Draw) -> tuple[int, float, bool]:
    """The same place, or with the chance of a draw any, each alike; its chance, whether drawn."""
    named, epsilon = draw
    is_explored = is_hour_drawn(named, epsilon)
    drawn = moments.index(drawn_hour(named, moments)) if is_explored else place
    return drawn, hour_chance(len(moments), epsilon, is_best=drawn == place), is_explored


def _kept_by(window: Window, best: Slot, usual: Slot, prediction: Prediction) -> Binding:
    """Why the hour is not the best of them all; `LITTLE_...` where it stays the sender's own."""
    if window.has_passed:
        return Binding.WINDOW_PASSED
    if best.at != usual.at:
        if not _is_told(prediction):
            return Binding.LITTLE_EVIDENCE
        if best.p < usual.p * (1.0 + MIN_GAIN):
            return Binding.LITTLE_GAIN
    return Binding.NONE


def _rule_between(
    window: Window, chances: Sequence[float], chosen: float, binding: Binding
) -> Binding:
    """The rule that keeps a better hour from being chosen, or the sender's own from staying."""
    if binding is not Binding.NONE:
        rule = window.forbidden[window.wanted]
        return rule if rule is not Binding.NONE else binding
    better = max(range(len(chances)), key=chances.__getitem__)
    is_better = chances[better] > chosen * (1.0 + MIN_GAIN)
    return window.forbidden[better] if is_better else binding


def _later(
    window: Window, clock: LocalClock, rules: Rules, some: Sequence[Prediction]
) -> list[SendTime]:
    """The first hour after the window that is allowed; the sender's own where there is none."""
    first = max(window.end, window.moments[-1]) // HOUR_US * HOUR_US + HOUR_US
    at = _first_allowed(first, rules, clock.zone)
    rule, told = most_binding(window.forbidden), Told(window.moments, window.of_week, some)
    bests = defaults = told.at_place(window.wanted)
    if at is not None:
        bests = Told((at,), hours_of_week((at,), clock.zone), some).at_place(0)
    return [
        SendTime(best, default, told, row, clock, rule, rule, is_next_known=at is not None)
        for row, (best, default) in enumerate(zip(bests, defaults, strict=True))
    ]


def _first_allowed(first: int, rules: Rules, zone: tzinfo) -> int | None:
    """The first allowed whole hour of some weeks, or else the first moment that is."""
    last = first + (LOOKS_AHEAD_H - 1) * HOUR_US
    hours = tuple(range(first, last + 1, HOUR_US))
    allowed = zip(hours, rules.forbids(hours, zone), strict=True)
    whole = next((at for at, rule in allowed if rule is Binding.NONE), None)
    return rules.first_between(first, last, zone) if whole is None else whole


def _delivered_at(prediction: Prediction, now: int) -> int:
    """The newest delivery among the events, zero for none."""
    days = prediction.features.get("days_since_delivered", np.nan)
    return 0 if np.isnan(days) else now - round(days * DAY_US)


def _is_told(prediction: Prediction) -> bool:
    """Whether a person has shown enough, or what there is points to one cohort."""
    active = prediction.active_hours
    return active >= MIN_EVIDENCE or (active > 0 and prediction.concentration > SURE_OF_KIND)
