"""All that a page tells of one recipient: read, asked again, drawn, not yet written as HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from features.definitions.recipient import VIEW
from features.events.schema import offset_at
from features.layout import local_hour, slot_of_hour
from models.specs.churn import Theme, theme_of
from serving.asks import Ask
from serving.decided import Decided, Record, decided
from serving.decision import Decision, decide
from serving.history import History, history_of
from serving.hours import MIN_EVIDENCE
from serving.http.answers import RECORD_VERSION, Answer, answer_of
from serving.http.inspect import answer_of_look
from serving.http.inspect_schemas import RecipientAnswer
from serving.http.looks import Look, look_at
from serving.http.page_pictures import HeatMap, Spark, bars, effect_bars, heat_map, line
from serving.http.page_words import THEME
from serving.http.parts import Parts
from serving.kept import Kept
from serving.policy import Policy
from serving.slots import Slot
from serving.what_ifs import WhatIf, what_ifs

BEST: Final = "best hour"
DEFAULT: Final = "default hour"
LINES: Final = {
    "active_hl7d": "Activity, 7 days",
    "active_hl30d": "Activity, 30 days",
    "active_hl120d": "Activity, 120 days",
    "active_velocity_hl7d_hl60d": "Velocity, 7 to 60 days",
    "active_velocity_hl30d_hl120d": "Velocity, 30 to 120 days",
    "delivered_hl7d": "Mails received, 7 days",
}
BARS: Final = {
    "delivered": "Mails delivered a week",
    "opened": "Opens by a human a week",
    "clicked": "Clicks by a human a week",
    "session": "Session hours a week",
}
_SAME: Final = (
    "decision_id", "best_at", "default_at", "binding_constraint", "hold", "arm", "variant",
    "policy", "send_time_version", "churn_version", "content_preference_version", "fallback",
    "is_test",
)  # fmt: skip
MOST_SENDS: Final = 50  # whose kept decision is asked for


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature; without a value where it is missing."""

    name: str
    value: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """A decision in the log, and how often it was asked for in a row."""

    record: Record
    times: int


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A decision that a second render of a mail gets again."""

    send_id: str
    slot: str
    id: str
    kept: Kept


@dataclass(frozen=True, slots=True)
class View:
    """What the page of one recipient is made of.

    Args:
        told: What the route for programs tells.
        answer: What a score would say now, as a dry run.
        decided: From the log of decisions; None where it is switched off.
        n_older: Lines of an older form, which are not shown.
        kept: None where decisions are not kept.
    """

    look: Look
    told: RecipientAnswer
    answer: Answer
    made: Decision
    active_hours: float
    is_little: bool
    is_held_out: bool
    maps: list[HeatMap]
    history: History
    lines: list[tuple[str, str, Spark]]
    bars: list[tuple[str, str, Spark]]
    features: list[tuple[str, list[FeatureRow]]]
    effects: list[tuple[str, float, tuple[float, float]]]
    what_ifs: list[WhatIf]
    decided: Decided | None
    decisions: list[DecidedRow]
    n_older: int
    kept: list[KeptRow] | None


def view_of(parts: Parts, key: str) -> View:
    """Look at a recipient.

    Raises:
        ProblemError: 404 where nothing is known of them, 503 where the log cannot be read.
    """
    look = look_at(parts, key)
    prediction, champions = look.scored.prediction, look.scored.champions
    made = decide(look.ask, prediction, Policy(), now=look.now)
    told = answer_of_look(look)
    history = history_of(look.entries, now=look.now)
    is_held_out = parts.chooser.holds_out(key)
    found = None if parts.decisions is None else decided(parts.decisions.folder, key)
    records = found.records if found else []
    rows = _rows(records)
    sizes = effect_bars([one.effect for one in told.churn.effects])
    return View(
        look=look,
        told=told,
        answer=answer_of(look.ask, look.scored, made, now=look.now),
        made=made,
        active_hours=prediction.active_hours,
        is_little=prediction.active_hours < MIN_EVIDENCE,
        is_held_out=is_held_out,
        maps=_maps(look),
        history=history,
        lines=[(label, name, line(history.features[name])) for name, label in LINES.items()],
        bars=[(label, name, bars(history.counts[name])) for name, label in BARS.items()],
        features=list(_features(told)),
        effects=[
            (THEME[one.theme], one.effect, bar)
            for one, bar in zip(told.churn.effects, sizes, strict=True)
        ],
        what_ifs=what_ifs(
            parts.decider, look.ask, look.hours, champions, now=look.now, is_held_out=is_held_out
        ),
        decided=found,
        decisions=rows,
        n_older=len(records) - sum(row.times for row in rows),
        kept=_kept(parts, look, records),
    )


def _maps(look: Look) -> list[HeatMap]:
    """What the person has shown, and what the model makes of it."""
    prediction, hours = look.scored.prediction, look.hours
    marks = {BEST: _slot(hours.best, look), DEFAULT: _slot(hours.default, look)}
    return [
        heat_map(
            prediction.rhythm,
            title="When they were active",
            unit="active hours, as if mailed evenly",
            marks=marks,
        ),
        heat_map(
            prediction.p_engage,
            title="P(engage) of a mail sent then",
            unit="chance within 24 hours",
            marks=marks,
            has_floor=False,
        ),
    ]


def _slot(slot: Slot, look: Look) -> int:
    return slot_of_hour(local_hour(slot.at, offset_at(look.hours.zone, slot.at)))


def _features(told: RecipientAnswer) -> Iterator[tuple[str, list[FeatureRow]]]:
    """By theme, in the order of the definitions; all of them once, the missing ones too."""
    values = {one.name: one.value for one in told.features}
    if not values and not told.missing:
        return
    units = {feature.name: feature.describe()[1] for feature in VIEW.features}
    for theme in Theme:
        rows = [
            FeatureRow(name, values.get(name), unit)
            for name, unit in units.items()
            if theme_of(name) is theme
        ]
        yield THEME[theme], rows


def _rows(records: Sequence[Record]) -> list[DecidedRow]:
    """Those that differ in no more than their moment and what was learnt meanwhile are one.

    Lines of another form than ours are left out.
    """
    ours = [record for record in records if record.get("version") == RECORD_VERSION]
    grouped = groupby(ours, key=lambda record: [record[name] for name in _SAME])
    together = [list(some) for _, some in grouped]
    return [DecidedRow(some[0], len(some)) for some in together]


def _kept(parts: Parts, look: Look, records: Sequence[Record]) -> list[KeptRow] | None:
    """What is kept for the mails that the log of decisions and the events name."""
    if not parts.chooser.is_keeping:
        return None
    named = [(str(one.get("send_id", "")), str(one.get("slot", ""))) for one in records]
    named += [(event.send_id, "") for event in look.newest]
    sends = [send for send in dict.fromkeys(named) if send[0]][:MOST_SENDS]
    asks = [Ask(look.ask.recipient_key, send_id=send_id, slot=slot) for send_id, slot in sends]
    found = zip(asks, parts.chooser.recalled(asks, now=look.now), strict=True)
    rows = [
        KeptRow(ask.send_id, ask.slot, parts.chooser.id_of(ask), kept)
        for ask, kept in found
        if kept is not None
    ]
    return sorted(rows, key=lambda row: -row.kept.at)
