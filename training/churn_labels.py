"""Whom churn is asked of, when, and what became of them: the rows of its training and test.

Snapshots every week. The newest whose label window has closed is the test; older ones whose
windows close before it train; those between calibrate, on recipients whom nobody trains on.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.schema import DAY_US
from models.specs.churn import HISTORY, SPEC
from training import labels
from training.pointwise import apart
from training.recipe import Order
from training.splits import held_out, snapshots

HORIZONS: Final = (90.0, 56.0, 28.0, 14.0)
SNAPSHOT_DAYS: Final = 7.0
MAX_TRAIN_SNAPSHOTS: Final = 20
MAX_TRAIN_ROWS: Final = 150_000
CALIBRATED_DAYS: Final = 21.0  # up to the test: more rows, hardly older
TRAIN_DAYS: Final = 84.0  # of snapshots, for a horizon to be chosen
WARM_DAYS: Final = 28.0
AT_RISK_DAYS: Final = {True: 180, False: 365}  # with and without mail in the log

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
_OF_HISTORY: Final = np.array([name in HISTORY for name in SPEC.inputs])


def label_of(horizon: float) -> str:
    """The question in words; candidates and champions with the same one can be compared."""
    return f"no human engagement for {horizon:g} days, or an opt-out"


def horizon_of(order: Order) -> float:
    """The one ordered, else the longest that leaves room for a few training snapshots."""
    fits = [h for h in HORIZONS if order.span_days >= 2 * h + TRAIN_DAYS]
    return order.horizon_days or (fits[0] if fits else HORIZONS[-1])


def for_trees(rows: Rows) -> Rows:
    """Rows of the model's inputs without those that only the fallback for short logs reads."""
    return np.where(_OF_HISTORY, np.float32(np.nan), rows)


def typical(rows: Rows) -> list[float]:
    """The median of each input, zero where it was always missing."""
    has_any = ~np.isnan(rows).all(axis=0)
    middle = np.zeros(rows.shape[1])
    middle[has_any] = np.nanmedian(rows[:, has_any], axis=0)
    return [round(float(value), 6) for value in middle]


def labelled(order: Order, horizon: float) -> tuple[pl.DataFrame, Floats]:
    """Who was at risk at each snapshot (recipient_key, at), and who churned; shape (n,)."""
    events = order.data.events
    engaged, left = labels.engagements(events), labels.opt_outs(events)
    horizon_us = round(horizon * DAY_US)
    test = order.as_of - horizon_us
    older = snapshots(
        first=order.first + round(WARM_DAYS * DAY_US),
        last=test - horizon_us,
        step_days=SNAPSHOT_DAYS,
        at_most=MAX_TRAIN_SNAPSHOTS,
    )
    mails = labels.deliveries(events)
    since = AT_RISK_DAYS[not mails.is_empty()]
    late = snapshots(
        first=late_since(test, horizon),
        last=test,
        step_days=SNAPSHOT_DAYS,
        at_most=MAX_TRAIN_SNAPSHOTS,
    )
    parts = []
    for at in (*late, *older):
        keys = labels.at_risk(mails, engaged, left, at=at, since_days=since)
        part = pl.DataFrame({"recipient_key": keys}, schema={"recipient_key": pl.String})
        if at in late[1:]:  # to calibrate on, and nothing else
            part = part.filter(pl.Series(apart(SPEC, keys), dtype=pl.Boolean))
        parts.append(part.with_columns(pl.lit(at, pl.Int64).alias("at")))
    older_rows = parts[len(late) :] or [parts[0].clear()]
    spine = pl.concat([*parts[: len(late)], _fewer(pl.concat(older_rows))])
    return spine, labels.churned(spine, engaged, left, horizon_us=horizon_us)


def late_since(test: int, horizon: float) -> int:
    """From here on label windows reach beyond the test's moment: nobody may train on them."""
    return test - round(min(CALIBRATED_DAYS, horizon) * DAY_US) + 1


def _fewer(older: pl.DataFrame) -> pl.DataFrame:
    """All snapshots of some recipients, where those of all would be too many rows."""
    share = MAX_TRAIN_ROWS / max(len(older), 1)
    if share >= 1.0:
        return older
    kept = held_out(older["recipient_key"].to_list(), share=share, salt="fewer")
    return older.filter(pl.Series(kept))
