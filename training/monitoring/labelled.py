"""The rows that a champion is asked about at a moment, and those whose labels are mature.

One function per model makes its rows, at training for the reference and at every monitoring, so
that a drift is never one of who was picked. Inputs come straight from the kernel: the numbers
of the feature store without its join.

Failure mode: mails of one day share what that day was like, so errors are taken over recipients
and over days, and the larger counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.definitions.recipient import VIEW
from features.events.schema import DAY_US, HOUR_US
from features.layout import HOURS_PER_WEEK, MONDAY_SHIFT
from models.bundle import Manifest
from models.reference import SCORE, Reference, reference_of
from models.runtime import Session
from models.specs import BY_NAME
from models.specs.content_preference import RECIPIENT_INPUTS
from models.specs.send_time import LEVEL, are_hidden
from training import clocks, labels
from training.choices import CLICK_DAYS
from training.churn_labels import AT_RISK_DAYS
from training.dataset import PointInTime
from training.recipe import shown_day
from training.splits import units_of

MAX_ROWS: Final = 10_000
MAILED_DAYS: Final = 28.0
CLOSED_AFTER_US: Final = {"send_time": 30 * HOUR_US, "content_preference": 8 * DAY_US}
ACTIVE_HOURS: Final = "active_hours"  # in place of the 168 inputs of the rhythm

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]


class Span(NamedTuple):
    """From a moment until another, microseconds; the second not in it."""

    begin: int
    end: int

    @property
    def expr(self) -> pl.Expr:
        """Whether `at` lies in it."""
        return pl.col("at").is_between(self.begin, self.end, closed="left")


@dataclass(frozen=True, slots=True)
class Columns:
    """What drift is measured on: inputs and score by name, and the units behind each."""

    values: Mapping[str, Floats]
    units: Mapping[str, int]

    def reference(self, at: int) -> Reference:
        """The histograms of a moment (microseconds)."""
        return reference_of(self.values, self.units, shown_day(at))


@dataclass(frozen=True, slots=True)
class Answered:
    """Rows with mature labels and a champion's chances of them, all in one order.

    Args:
        spine: Columns recipient_key and at.
        y: 0 or 1, shape (n,).
        p: Shape (n,).
        rows: The inputs that were asked, shape (n, n_inputs).
    """

    spine: pl.DataFrame
    y: Floats
    p: Floats
    rows: Rows

    @property
    def people(self) -> list[str]:
        """Recipient of each row."""
        return self.spine["recipient_key"].to_list()

    @property
    def days(self) -> list[str]:
        """Day of each row."""
        return (self.spine["at"] // DAY_US).cast(pl.String).to_list()

    def part(self, kept: NDArray[np.bool_]) -> "Answered":
        """Some of the rows."""
        return Answered(
            self.spine.filter(pl.Series(kept)), self.y[kept], self.p[kept], self.rows[kept]
        )


def population(name: str, data: PointInTime, session: Session, *, at: int) -> Columns | None:
    """Inputs and scores of whom a model is asked about; None where there is nobody.

    Everybody is asked at an hour of their own in the week before the moment, the same one every
    week. At one moment for all, the hour of the last send would be in all rows alike, and an hour
    of daylight saving a drift.
    """
    spine = _ASKED[name](data, at)
    if spine.is_empty():
        return None
    rows = inputs_of(name, data, spine)
    answers = session.run(rows)[BY_NAME[name].outputs[0].name].astype(np.float64)
    inputs = BY_NAME[name].inputs
    first = HOURS_PER_WEEK if name == "send_time" else 0
    values = {
        column: rows[:, i].astype(np.float64) for i, column in enumerate(inputs) if i >= first
    }
    if first:
        values[ACTIVE_HOURS] = rows[:, :first].astype(np.float64).sum(axis=1)
    values[SCORE] = answers.max(axis=1)
    people = spine["recipient_key"].n_unique()
    units = dict.fromkeys(values, people)
    if name == "content_preference":
        items = min(people, spine["content_id"].n_unique())
        units |= {column: items for column in values if column not in RECIPIENT_INPUTS}
    return Columns(values, units)


def answered(
    name: str, data: PointInTime, session: Session, manifest: Manifest, *, span: Span
) -> Answered | None:
    """Rows of a span whose labels are mature at its end, and what the champion says of them.

    None where its question is not one of probabilities, or nothing was asked in the span.
    """
    made = _LABELLED[name](data, manifest, span)
    if made is None or made.is_empty():
        return None
    if len(made) > MAX_ROWS:
        made = made.sample(MAX_ROWS, seed=7).sort("at", "recipient_key")
    rows = inputs_of(name, data, made)
    answers = session.run(rows)[BY_NAME[name].outputs[0].name]
    place = made["slot"].to_numpy() if "slot" in made.columns else np.zeros(len(made), np.int64)
    p = answers[np.arange(len(made)), place].astype(np.float64)
    y = made["y"].to_numpy().astype(np.float64)
    return Answered(made.select("recipient_key", "at"), y, p, rows)


def closed_until(name: str, manifest: Manifest, *, as_of: int) -> int:
    """Up to when rows have labels that are mature at `as_of`."""
    wait = CLOSED_AFTER_US.get(name, round(manifest.horizon_days * DAY_US))
    return as_of - wait


def inputs_of(name: str, data: PointInTime, spine: pl.DataFrame) -> Rows:
    """A model's inputs for rows, shape (n, n_inputs)."""
    match name:
        case "send_time":
            features = data.recipients_at(spine, VIEW.names)
            flags = clocks.is_local(data.events, spine), are_hidden(features)
            level = features[:, [VIEW.names.index(column) for column in LEVEL]]
            parts = [data.rhythm_at(spine), level, np.stack(flags, axis=1)]
        case "content_preference":
            parts = [
                data.recipients_at(spine, RECIPIENT_INPUTS),
                data.candidates_at(spine),
            ]
        case _:
            parts = [data.recipients_at(spine, BY_NAME[name].inputs)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


def _at_risk(data: PointInTime, at: int) -> pl.DataFrame:
    mails = labels.deliveries(data.events)
    keys = labels.at_risk(
        mails,
        labels.engagements(data.events),
        labels.opt_outs(data.events),
        at=at,
        since_days=AT_RISK_DAYS[not mails.is_empty()],
    )
    return _at(keys, at)


def _mailed(data: PointInTime, at: int) -> pl.DataFrame:
    """Who got a mail in the last four weeks, or was active where the log knows no mail."""
    seen = labels.deliveries(data.events)
    if seen.is_empty():
        seen = labels.engagements(data.events)
    lately = pl.col("occurred_at").is_between(at - round(MAILED_DAYS * DAY_US), at, closed="left")
    return _at(sorted(seen.filter(lately)["recipient_key"].unique().to_list()), at)


def _shown(data: PointInTime, at: int) -> pl.DataFrame:
    span = Span(at - round(MAILED_DAYS * DAY_US), at)
    shown = labels.items_clicked(data.events, window_us=CLICK_DAYS * DAY_US).filter(span.expr)
    return shown.sample(min(MAX_ROWS, len(shown)), seed=7).sort("at", "recipient_key")


def _silent(data: PointInTime, manifest: Manifest, span: Span) -> pl.DataFrame | None:
    """Who was at risk when the span ends, and fell silent within the champion's horizon."""
    spine = _at_risk(data, span.end)
    if spine.is_empty():
        return None
    y = labels.churned(
        spine,
        labels.engagements(data.events),
        labels.opt_outs(data.events),
        horizon_us=round(manifest.horizon_days * DAY_US),
    )
    return spine.with_columns(pl.Series("y", y))


def _engaged(data: PointInTime, manifest: Manifest, span: Span) -> pl.DataFrame | None:
    if manifest.basis != "engagement":
        return None
    mails = labels.mails_engaged(data.events, window_us=DAY_US).filter(span.expr)
    slot = ((pl.col("hour") + MONDAY_SHIFT) % HOURS_PER_WEEK).alias("slot")
    return mails.select("recipient_key", "at", slot, "y").sort("at", "recipient_key")


def _clicked(data: PointInTime, manifest: Manifest, span: Span) -> pl.DataFrame | None:
    if manifest.basis != "shown":
        return None
    return labels.items_clicked(data.events, window_us=CLICK_DAYS * DAY_US).filter(span.expr)


def _spread(spine: pl.DataFrame) -> pl.DataFrame:
    units = units_of(spine["recipient_key"].to_list(), salt="asked")
    ago = np.floor(units * HOURS_PER_WEEK).astype(np.int64) * HOUR_US
    return spine.with_columns(pl.col("at") - pl.Series(ago, dtype=pl.Int64))


def _at(keys: list[str], at: int) -> pl.DataFrame:
    spine = pl.DataFrame({"recipient_key": keys}, schema={"recipient_key": pl.String})
    return spine.with_columns(pl.lit(at, pl.Int64).alias("at"))


_ASKED: Final[Mapping[str, Callable[[PointInTime, int], pl.DataFrame]]] = {
    "send_time": lambda data, at: _spread(_mailed(data, at)),
    "churn": lambda data, at: _spread(_at_risk(data, at)),
    "content_preference": _shown,
}
_LABELLED: Final[Mapping[str, Callable[[PointInTime, Manifest, Span], pl.DataFrame | None]]] = {
    "send_time": _engaged,
    "churn": _silent,
    "content_preference": _clicked,
}
