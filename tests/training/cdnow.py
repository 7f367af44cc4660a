"""CDNOW: 2,357 people who first bought music in early 1997, and what they bought until mid 1998.

Half of the time is the past and half is to be foretold, 39 weeks each, as in Fader, Hardie and
Lee (2005). The churn model of the product is fitted and exported five times, each time without
one fifth of the people, and asked about those; BG/NBD needs no labels and sees every past.
"""

import gzip
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events.log import EventLog
from features.events.schema import DAY_US, SECOND_US, Event, EventType
from features.feast_store import FeastStore
from models.report import Row
from models.specs.churn import SPEC
from training import comparison, labels
from training.baselines import base_rate, recalibrated, recency_curve, rfm_curve
from training.bgnbd import BgNbd, fit_bgnbd
from training.churn_labels import for_trees
from training.dataset import PointInTime
from training.opt_outs import usual
from training.pointwise import Labelled, Leaves, fit_pointwise
from training.recipe import Order
from training.splits import held_out

PAPER: Final = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
PAPER_LOG_LIKELIHOOD: Final = -9582.4
WEEKS: Final = 39
FOLDS: Final = 5
SPLIT_AT: Final = int(datetime(1997, 10, 1, tzinfo=UTC).timestamp()) * SECOND_US

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Past:
    """Repeat days and, in weeks, the newest of them and the age on the last day of the past."""

    people: list[str]
    repeats: Floats
    newest: Floats
    age: Floats

    def fit(self) -> BgNbd:
        return fit_bgnbd(self.repeats, self.newest, self.age)

    def log_likelihood(self, model: BgNbd) -> float:
        return model.log_likelihood(self.repeats, self.newest, self.age)


def purchases(folder: Path) -> list[Event]:
    """One event per line of the sample; it knows the day and not the hour."""
    events = []
    with gzip.open(folder / "CDNOW_sample.txt.gz", "rt") as lines:
        for number, line in enumerate(lines):
            _, person, day, _, value = line.split()
            moment = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
            at = int(moment.timestamp()) * SECOND_US
            bought = Event(f"{number}", EventType.PURCHASED, person, at, at, value=float(value))
            events.append(bought)
    return events


def past_of(events: list[Event]) -> Past:
    """As the paper counts: days, and time up to the last day of the past."""
    days: dict[str, set[int]] = {}
    for event in events:
        if event.occurred_at < SPLIT_AT:
            days.setdefault(event.recipient_key, set()).add(event.occurred_at // DAY_US)
    last = SPLIT_AT // DAY_US - 1
    rows = [(len(d) - 1, (max(d) - min(d)) / 7, (last - min(d)) / 7) for d in days.values()]
    return Past(list(days), *np.array(rows, float).T)


def foretold(events: list[Event], scratch: Path, *, seed: int = 7) -> tuple[Row, list[Row]]:
    """The product's churn model beside the others: who buys nothing in the second half."""
    past = past_of(events)
    people = past.people
    spine = pl.DataFrame({"recipient_key": people, "at": [SPLIT_AT] * len(people)})
    with EventLog(scratch / "log") as log:
        log.append(events)
        feast = FeastStore(scratch / "feast", online=scratch / "online.sqlite")
        feast.apply()
        bought, left = labels.engagements(log.scan()), labels.opt_outs(log.scan())
        y = labels.churned(spine, bought, left, horizon_us=WEEKS * 7 * DAY_US)
        known = log.scan().filter(pl.col("occurred_at") < SPLIT_AT)
        order = Order(PointInTime(known, feast), SPLIT_AT, events[0].occurred_at, seed=seed)
        rows = order.data.recipient(spine, SPEC.inputs)
    silence = np.clip(past.fit().p_silent(WEEKS, past.repeats, past.newest, past.age), 0.002, 0.998)
    found = {
        name: np.empty(len(y))
        for name in (
            "LightGBM, exported", "base rate", "recency", "BG/NBD", "BG/NBD, calibrated",
            "logistic RFM",
        )
    }  # fmt: skip
    days = rows[:, SPEC.inputs.index("days_since_active")].astype(np.float64)
    for fold in folds_of(people):
        at = np.full(len(y), SPLIT_AT, np.int64)
        data = Labelled(for_trees(rows), y, people, at, fold, np.zeros(len(y), np.bool_))
        answers = (
            fit_pointwise(SPEC, order, data, leaves=Leaves(50), beside=usual()).p,
            base_rate(y[~fold], int(fold.sum())),
            recency_curve(days[~fold], y[~fold], days[fold]),
            silence[fold],
            recalibrated(silence, y, ~fold),
            rfm_curve(rows[~fold], y[~fold]).predict(rows[fold]),
        )
        for column, answer in zip(found.values(), answers, strict=True):
            column[fold] = answer
    return comparison.of_probabilities(y, found, people)


def folds_of(people: list[str]) -> list[NDArray[np.bool_]]:
    """Every person in one of five; by a hash, so that they do not depend on the order."""
    shares = [held_out(people, share=n / FOLDS, salt="cdnow") for n in range(FOLDS + 1)]
    return [more & ~less for less, more in pairwise(shares)]
