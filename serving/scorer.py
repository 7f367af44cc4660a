"""States and champions to predictions: pure, no clock, no store, no HTTP.

Many asks are scored in one run per model. A part that no model can answer gets the spec's or
the tenant's prior, and the reason says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.assemble import matrix, rhythm, shifted
from features.decay import NEVER_AT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import offset_at, zone_of
from features.layout import HOURS_PER_WEEK
from features.unpacked import Someone
from models.specs import churn, send_time
from models.specs.send_time import LEVEL, are_hidden
from serving.asks import Ask, Champions, Loaded, Prediction, Weeks
from serving.churn_reasons import Effect, effects
from serving.columns import rows_of
from serving.fallback import FallbackReason as Why
from serving.fallback import of_scores, worst
from serving.holding import Risks
from serving.item_scores import item_scores
from serving.known import PLACE, RECIPIENT_LAYOUT, Features, Known

DEFAULT_HOUR: Final = 24 + 10  # Tuesday 10:00 where no model knows better
_CHURN: Final = np.array([PLACE[name] for name in churn.SPEC.inputs])
_LEVEL: Final = np.array([PLACE[name] for name in LEVEL])
_ACTIVE: Final = PLACE["active_total"]
_NO_CLOCK: Final = ("", 0, False)

# What is said of the hours where no model can: an hour like any other, and nothing known of it.
_UNKNOWN: Final = {
    "p_engage": send_time.SPEC.prior,
    "activity": 1.0 / HOURS_PER_WEEK,
    "p_low": 0.0,
    "p_high": 1.0,
    "concentration": 0.0,
}

Rows = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hours:
    """What send time said of every ask: the model's outputs, the default hour, why not."""

    parts: Mapping[str, Rows]
    default_hour: Sequence[int]
    why: Sequence[Why]


def predict(
    asks: Sequence[Ask], known: Known, champions: Champions, *, at: int
) -> list[Prediction]:
    """Score every ask at a moment (microseconds); the order is kept."""
    people = known.people
    reading = known.stack.read(at, RECIPIENT_LAYOUT)
    rows = matrix(reading, RECIPIENT)
    clocks = [_NO_CLOCK if state is None else _clock(state) for state in people]
    weeks, is_local = _on_own_clocks(rhythm(reading, RECIPIENT_LAYOUT), asks, clocks, at)
    active = np.asarray((weeks > 0).any(axis=1)).tolist()
    evidence = list(map(_evidence, people, known.trouble, active))
    hours = _hours(weeks, rows, is_local, champions)
    silent, risks, horizon, silence_why = _silence(rows, evidence, champions)
    explained = _explained(asks, rows, evidence, champions.by_name.get("churn"))
    items, delivered, items_why = item_scores(asks, known, rows, at, champions)
    asked_why = [why if ask.candidates else None for ask, why in zip(asks, items_why, strict=True)]
    said = hours.parts
    together = Weeks(said["p_engage"], said["p_low"], said["p_high"], said["activity"], weeks)
    return rows_of(
        Prediction,
        repeat(together),
        range(len(asks)),
        said["concentration"][:, 0].tolist(),
        rows[:, _ACTIVE].tolist(),
        silent.tolist(),
        rows_of(Risks, *(chances.tolist() for chances in risks)),
        [explained.get(row, ()) for row in range(len(asks))],
        repeat(horizon),
        items,
        delivered,
        hours.default_hour,
        [{} if state is None else Features(row) for state, row in zip(people, rows, strict=True)],
        *zip(*clocks, strict=True),
        [0 if state is None else max(state.newest, 0) for state in people],
        map(_reasons, evidence, hours.why, silence_why, asked_why),
    )


@lru_cache(maxsize=4_096)  # the same few; nobody changes them
def _reasons(evidence: Why, hours: Why, silence: Why, items: Why | None) -> Mapping[str, Why]:
    """Why each part is not the model's own word; `items` is None where nothing is to be ranked."""
    return {
        "send_time": worst(hours, evidence),
        "churn": worst(silence, evidence),
        "content_preference": Why.NONE if items is None else worst(items, evidence),
    }


def _evidence(state: Someone | None, why: Why, is_active: bool) -> Why:  # noqa: FBT001  mapped
    if state is None or why is not Why.NONE:
        return why if why is not Why.NONE else Why.UNKNOWN_RECIPIENT
    return Why.NONE if is_active else Why.NO_EVIDENCE


def _clock(state: Someone) -> tuple[str, int, bool]:
    """The zone of the events, its offset in minutes, and whether any of them told one."""
    if state.zone_at == NEVER_AT:
        return _NO_CLOCK
    return state.zone, state.zone_offset_min, True


def _on_own_clocks(
    weeks: Rows, asks: Sequence[Ask], clocks: Sequence[tuple[str, int, bool]], at: int
) -> tuple[Rows, Flags]:
    """The rhythms, and whether each is on the recipient's own clock.

    Where only the ask tells the clock, hours of UTC become hours of that clock.
    """
    is_local = [is_told for _, _, is_told in clocks]
    moved: dict[int, list[int]] = {}
    for row, ask in enumerate(asks):
        zone = None if is_local[row] or not ask.timezone else zone_of(ask.timezone)
        if zone is not None:
            moved.setdefault(offset_at(zone, at), []).append(row)
            is_local[row] = True
    for offset, rows in moved.items():
        weeks[rows] = shifted(weeks[rows], offset)
    return weeks, np.array(is_local)


def _hours(weeks: Rows, rows: Rows, is_local: Flags, champions: Champions) -> Hours:
    model = champions.by_name.get("send_time")
    n = len(rows)
    if model is None:
        return Hours(_unknown(n), [DEFAULT_HOUR] * n, [champions.why_not("send_time")] * n)
    inputs = np.empty((n, len(send_time.SPEC.inputs)), np.float32)
    inputs[:, :HOURS_PER_WEEK] = weeks
    inputs[:, HOURS_PER_WEEK:-2] = rows[:, _LEVEL]
    inputs[:, -2], inputs[:, -1] = is_local, are_hidden(rows)
    parts = model.bundle.session.run(inputs)
    is_sound = _are_sound(list(parts.values()))
    if not is_sound.all():
        usual = _unknown(n)
        parts = {k: np.where(is_sound[:, None], part, usual[k]) for k, part in parts.items()}
    told = model.bundle.manifest
    local = DEFAULT_HOUR if told.default_hour is None else told.default_hour
    utc = local if told.default_hour_utc is None else told.default_hour_utc
    hours = [local if is_own else utc for is_own in is_local.tolist()]
    return Hours(parts, hours, of_scores(is_sound))


def _are_sound(parts: Sequence[Rows]) -> Flags:
    """Whether all that a model said of a row are numbers, shape (n,)."""
    return np.asarray(np.logical_and.reduce([np.isfinite(part).all(axis=1) for part in parts]))


def _unknown(n: int) -> dict[str, Rows]:
    return {
        output.name: np.tile(np.float32(_UNKNOWN[output.name]), (n, output.width))
        for output in send_time.SPEC.outputs
    }


def _silence(
    rows: Rows, evidence: Sequence[Why], champions: Champions
) -> tuple[Rows, list[Rows], float, list[Why]]:
    """Churn asks about people who engaged once; the others get the tenant's base rate."""
    n = len(rows)
    model = champions.by_name.get("churn")
    if model is None:
        prior = np.full(n, churn.SPEC.prior, np.float32)
        risks = [np.full(n, p, np.float32) for p in churn.RISKS.values()]
        return prior, risks, churn.SPEC.horizon_days, [champions.why_not("churn")] * n
    answer = model.bundle.session.run(np.ascontiguousarray(rows[:, _CHURN]))
    told = [answer["p_churn"], *(answer[name] for name in churn.RISKS)]
    is_sound = _are_sound(told)
    if not is_sound.all():
        usual = (churn.SPEC.prior, *churn.RISKS.values())
        told = [
            np.where(is_sound[:, None], part, np.float32(p))
            for part, p in zip(told, usual, strict=True)
        ]
    manifest = model.bundle.manifest
    scores, *chances = (part[:, 0] for part in told)
    has_evidence = is_sound & [why is Why.NONE for why in evidence]
    kept = np.where(has_evidence, scores, np.float32(manifest.prior))
    return kept, chances, manifest.horizon_days, of_scores(is_sound)


def _explained(
    asks: Sequence[Ask], rows: Rows, evidence: Sequence[Why], model: Loaded | None
) -> dict[int, list[Effect]]:
    """By row, for those who ask and whose score is the model's own."""
    asked = [
        row
        for row, (ask, why) in enumerate(zip(asks, evidence, strict=True))
        if ask.explain and why is Why.NONE
    ]
    if model is None or not asked:
        return {}
    told = effects(np.ascontiguousarray(rows[asked][:, _CHURN]), model.bundle)
    return dict(zip(asked, told, strict=True))
