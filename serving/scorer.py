"""States and champions to predictions: pure, no clock, no store, no HTTP.

Many asks are scored in one run per model. A part that no model can answer gets the spec's or
the tenant's prior, and the reason says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.assemble import matrix, rhythm, shifted
from features.candidates import Candidate, affinities
from features.decay import NEVER_AT
from features.definitions.content import VIEW as CONTENT
from features.definitions.content import exposed
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import offset_at, zone_of
from features.kinds import DAY, Decayed
from features.layout import HOURS_PER_WEEK, layout_of
from features.reading import Stack, stack
from features.state import State
from models.specs import churn, content_preference, send_time
from models.specs.content_preference import RECIPIENT_INPUTS
from models.specs.send_time import LEVEL, are_hidden
from serving.asks import Ask, Champions, Loaded, Prediction
from serving.churn_reasons import Effect, effects
from serving.cohorts import Cohorts, cohort_rows
from serving.fallback import FallbackReason as Why
from serving.fallback import worst
from serving.items import Items

RECIPIENT_LAYOUT: Final = layout_of(RECIPIENT)
DEFAULT_HOUR: Final = 24 + 10  # Tuesday 10:00 where no model knows better
_NAMES: Final = RECIPIENT.names
_PLACE: Final = {name: place for place, name in enumerate(_NAMES)}
_CHURN: Final = np.array([_PLACE[name] for name in churn.SPEC.inputs])
_LEVEL: Final = np.array([_PLACE[name] for name in LEVEL])
_TASTE: Final = np.array([_PLACE[name] for name in RECIPIENT_INPUTS])
_DELIVERED: Final = CONTENT.names.index(Decayed(exposed, 91 * DAY).name)

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


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds for the asks: states in their order, and the candidates.

    Args:
        trouble: Per ask why there is no state, NONE when there is one.
        lying: The same states side by side, where they were read at once.
        cohorts: What people without interests are ranked by.
    """

    people: Sequence[State | None]
    items: Items
    trouble: Sequence[Why]
    lying: Stack | None = None
    cohorts: Cohorts = field(default_factory=dict)


def predict(
    asks: Sequence[Ask], known: Known, champions: Champions, *, at: int
) -> list[Prediction]:
    """Score every ask at a moment (microseconds); the order is kept."""
    lying = known.lying or stack(known.people, RECIPIENT_LAYOUT)
    reading = lying.read(at, RECIPIENT_LAYOUT)
    rows = matrix(reading, RECIPIENT)
    weeks, is_local = _on_own_clocks(rhythm(reading, RECIPIENT_LAYOUT), asks, known.people, at)
    active = np.asarray((weeks > 0).any(axis=1)).tolist()
    evidence = [
        _evidence(state, why, is_active=is_active)
        for state, why, is_active in zip(known.people, known.trouble, active, strict=True)
    ]
    by_name = champions.by_name
    hours = _hours(weeks, rows, is_local, champions)
    silent, risks, horizon, silence_why = _silence(rows, evidence, champions)
    explained = _explained(asks, rows, evidence, by_name.get("churn"))
    items, delivered, items_why = _items(asks, known, rows, at, champions)
    answers = []
    for row, (ask, state) in enumerate(zip(asks, known.people, strict=True)):
        has_zone = _has_zone(state)
        named = dict(zip(_NAMES, rows[row].tolist(), strict=True)) if state else {}
        answers.append(
            Prediction(
                p_engage=hours.parts["p_engage"][row],
                p_low=hours.parts["p_low"][row],
                p_high=hours.parts["p_high"][row],
                activity=hours.parts["activity"][row],
                rhythm=weeks[row],
                concentration=float(hours.parts["concentration"][row, 0]),
                p_churn=float(silent[row]),
                risks={name: float(p[row]) for name, p in risks.items()},
                effects=explained.get(row, ()),
                horizon_days=horizon,
                p_items=items[row],
                delivered=delivered[row],
                default_hour=hours.default_hour[row],
                features=named,
                zone=state.zone if state is not None and has_zone else "",
                zone_offset_min=state.zone_offset_min if state is not None and has_zone else 0,
                has_offset=has_zone,
                newest_at=max(state.newest, 0) if state is not None else 0,
                reasons={
                    "send_time": worst(hours.why[row], evidence[row]),
                    "churn": worst(silence_why[row], evidence[row]),
                    "content_preference": worst(items_why[row], evidence[row])
                    if ask.candidates
                    else Why.NONE,
                },
            )
        )
    return answers


def _evidence(state: State | None, why: Why, *, is_active: bool) -> Why:
    if state is None or why is not Why.NONE:
        return why if why is not Why.NONE else Why.UNKNOWN_RECIPIENT
    return Why.NONE if is_active else Why.NO_EVIDENCE


def _whys(is_sound: Flags) -> list[Why]:
    return [Why.NONE if sound else Why.BAD_SCORE for sound in is_sound.tolist()]


def _has_zone(state: State | None) -> bool:
    return state is not None and state.zone_at != NEVER_AT


def _on_own_clocks(
    weeks: Rows, asks: Sequence[Ask], people: Sequence[State | None], at: int
) -> tuple[Rows, Flags]:
    """The rhythms, and whether each is on the recipient's own clock.

    Where only the ask tells the clock, hours of UTC become hours of that clock.
    """
    is_local = np.array([_has_zone(state) for state in people])
    for row, ask in enumerate(asks):
        zone = None if is_local[row] or not ask.timezone else zone_of(ask.timezone)
        if zone is not None:
            weeks[row] = shifted(weeks[row], offset_at(zone, at))
            is_local[row] = True
    return weeks, is_local


def _hours(weeks: Rows, rows: Rows, is_local: Flags, champions: Champions) -> Hours:
    model = champions.by_name.get("send_time")
    n = len(rows)
    if model is None:
        return Hours(_unknown(n), [DEFAULT_HOUR] * n, [champions.why_not("send_time")] * n)
    flags = np.stack([is_local, are_hidden(rows)], axis=1)
    inputs = np.concatenate([weeks, rows[:, _LEVEL], flags], axis=1, dtype=np.float32)
    parts = dict(model.bundle.session.run(inputs))
    is_sound: Flags = np.logical_and.reduce(
        [np.isfinite(part).all(axis=1) for part in parts.values()]
    )
    if not is_sound.all():
        usual = _unknown(n)
        parts = {k: np.where(is_sound[:, None], part, usual[k]) for k, part in parts.items()}
    told = model.bundle.manifest
    local = DEFAULT_HOUR if told.default_hour is None else told.default_hour
    utc = local if told.default_hour_utc is None else told.default_hour_utc
    hours = np.where(is_local, local, utc).tolist()
    return Hours(parts, hours, _whys(is_sound))


def _unknown(n: int) -> dict[str, Rows]:
    return {
        output.name: np.tile(np.float32(_UNKNOWN[output.name]), (n, output.width))
        for output in send_time.SPEC.outputs
    }


def _silence(
    rows: Rows, evidence: Sequence[Why], champions: Champions
) -> tuple[Rows, dict[str, Rows], float, list[Why]]:
    """Churn asks about people who engaged once; the others get the tenant's base rate."""
    n = len(rows)
    model = champions.by_name.get("churn")
    if model is None:
        prior = np.full(n, churn.SPEC.prior, np.float32)
        risks = {name: np.full(n, p, np.float32) for name, p in churn.RISKS.items()}
        return prior, risks, churn.SPEC.horizon_days, [champions.why_not("churn")] * n
    manifest = model.bundle.manifest
    answer = model.bundle.session.run(np.ascontiguousarray(rows[:, _CHURN]))
    scores = answer["p_churn"][:, 0]
    is_sound = np.isfinite(scores)
    risks = {}
    for name, usual in churn.RISKS.items():
        is_sound &= np.isfinite(answer[name][:, 0])
        risks[name] = np.where(is_sound, answer[name][:, 0], np.float32(usual))
    has_evidence = np.array([why is Why.NONE for why in evidence])
    kept = np.where(has_evidence & is_sound, scores, np.float32(manifest.prior))
    return kept, risks, manifest.horizon_days, _whys(is_sound)


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


def _items(
    asks: Sequence[Ask], known: Known, rows: Rows, at: int, champions: Champions
) -> tuple[list[Rows], list[Rows], list[Why]]:
    """Per ask the chance of every candidate and how often it was delivered."""
    counts = [len(ask.candidates) for ask in asks]
    total = sum(counts)
    prior = np.full(total, content_preference.SPEC.prior, np.float32)
    model = champions.by_name.get("content_preference")
    why = champions.why_not("content_preference") if model is None else Why.NONE
    if total == 0:
        return [prior] * len(asks), [prior] * len(asks), [why] * len(asks)
    alike = _alike(asks)
    if len(alike) == 1 and len(asks) == len(*alike.values()):
        (shared,) = alike
        items = known.items.features(shared, at)
        items = np.tile(items, (len(asks), 1)) if len(asks) > 1 else items
    else:
        items = known.items.features([c for ask in asks for c in ask.candidates], at)
    delivered = _parts(items[:, _DELIVERED], counts)
    if model is None:
        return _parts(prior, counts), delivered, [why] * len(asks)
    tastes = _tastes(alike, known.people, at)
    cohorts = cohort_rows(asks, known.people, known.cohorts, tastes, at)
    people = np.repeat(rows[:, _TASTE], counts, axis=0)
    inputs = np.concatenate([people, tastes, cohorts, items], axis=1)
    scores = model.bundle.session.run(np.ascontiguousarray(inputs))["p_click"][:, 0]
    if np.isfinite(scores).all():
        return _parts(scores, counts), delivered, [Why.NONE] * len(asks)
    is_sound = np.array([bool(np.isfinite(part).all()) for part in _parts(scores, counts)])
    scores = np.where(np.repeat(is_sound, counts), scores, prior)
    return _parts(scores, counts), delivered, _whys(is_sound)


def _parts(values: Rows, counts: Sequence[int]) -> list[Rows]:
    """Each ask's own of all candidates' values; `numpy.split` takes several times as long."""
    ends = accumulate(counts)
    return [values[end - count : end] for count, end in zip(counts, ends, strict=True)]


def _alike(asks: Sequence[Ask]) -> dict[tuple[Candidate, ...], list[int]]:
    """The rows that ask for the same candidates; those that ask for none are left out."""
    found: dict[tuple[Candidate, ...], list[int]] = {}
    last: tuple[Candidate, ...] = ()
    rows: list[int] = []
    for row, ask in enumerate(asks):
        if not ask.candidates:
            continue
        if ask.candidates is not last:  # to hash them takes long
            last = ask.candidates
            rows = found.setdefault(last, [])
        rows.append(row)
    return found


def _tastes(
    alike: Mapping[tuple[Candidate, ...], list[int]], people: Sequence[State | None], at: int
) -> Rows:
    """The affinity features of all candidates of all asks, one after the other."""
    found: dict[int, Rows] = {}
    for candidates, some in alike.items():
        told = affinities([people[row] for row in some], candidates, at)
        if len(alike) == 1:
            return np.asarray(told.reshape(-1, told.shape[-1]))
        found |= zip(some, told, strict=True)
    return np.concatenate([found[row] for row in sorted(found)])
