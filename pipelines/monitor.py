"""Judge what happened: events, decisions and champions of the windows before a moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from features import decisions
from features.errors import StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import DAY_US
from features.feast_store import FeastStore
from features.online import OnlineStore
from features.stream import PROGRESS
from models.mlflow_registry import MlflowRegistry
from models.specs import SPECS
from pipelines.monitored import Monitored
from pipelines.review import sitting_champion
from serving.proofs import Watermark, proofs, watermark
from training.dataset import PointInTime
from training.monitoring import (
    answers,
    arms,
    drawn,
    early,
    exploring,
    habits,
    label_health,
    order,
    served,
)
from training.monitoring.champions import Watched, watch
from training.monitoring.findings import Signal, unjudged
from training.monitoring.outcomes import decisions_once, outcomes
from training.monitoring.triggers import Limits, due_of
from training.monitoring.windows import Windows

MONTH_US = 28 * DAY_US


@dataclass(frozen=True, slots=True)
class Meant:
    """What the service is set to, as chances, and what its policy is then called."""

    policy: str
    epsilon: float
    epsilon_hour: float
    holdout: float


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to look.

    Args:
        store: The online store; None where there is none.
        is_now: Whether the moment is the present, so that the online store can be judged.
    """

    log: EventLog
    decisions_dir: Path
    feast: FeastStore
    registry: MlflowRegistry
    store: OnlineStore | None
    erasures_dir: Path
    is_now: bool


def monitor(
    sources: Sources, *, as_of: int, days: float, meant: Meant, limits: Limits
) -> Monitored:
    """Judge the newest window before `as_of` (microseconds), beside the twelve before it.

    Reads nothing later than `as_of` but the online store's progress, and changes nothing.
    """
    windows = Windows(as_of, days)
    told = Monitored(windows)
    events = sources.log.scan(as_of=as_of).cache()
    data = PointInTime(events, sources.feast)
    told.signals += _fresh(sources, events, windows)
    _labels(told, events)
    newest = _decisions(told, decisions.read(sources.decisions_dir), events, meant)
    told.watched, again = _champions(sources.registry, data, windows, newest)
    told.signals.append(again)
    erased = [proof for proof in proofs(sources.erasures_dir) if proof.erased_at < as_of]
    for each in told.watched:
        told.signals += each.signals
        owed = _owed(watermark(each.made, erased, n_erasures=each.n_erasures))
        told.dues.append(due_of(each.model, each.age, told.signals, limits, erased=owed))
        if each.ratios:
            told.courses[f"{each.model}: observed / expected by week, smoothed"] = each.ratios
        if each.rhythm:
            told.courses["rhythm: nats over even hours"] = each.rhythm
    return told


def champions(registry: MlflowRegistry, into: Path) -> Mapping[str, Any]:
    """The champions that can be loaded, by model, each a version and its bundle."""
    found = {}
    for spec in SPECS:
        own = into / spec.name
        own.mkdir()
        sitting = sitting_champion(spec.name, registry=registry, into=own)
        found[spec.name] = None if sitting is None else (sitting.version, sitting.bundle)
    return found


def _owed(mark: Watermark) -> str:
    if not mark.n_erased:
        return ""
    return f"it has learnt from {mark.n_erased:,} erased since; by {mark.retrain_by} at the latest"


def _champions(
    registry: MlflowRegistry, data: PointInTime, windows: Windows, newest: pl.DataFrame
) -> tuple[list[Watched], Signal]:
    """Every champion, and the newest answers scored again by it."""
    is_empty = data.events.select(pl.len()).collect().item() == 0
    with TemporaryDirectory() as scratch:
        found = champions(registry, Path(scratch))
        if is_empty:
            found = dict.fromkeys(found)
        watched = [watch(name, each, data, windows) for name, each in found.items()]
        return watched, served.served_signal(newest, found[served.SUBJECT], data)


def _labels(told: Monitored, events: pl.LazyFrame) -> None:
    shares = label_health.shares(events, told.windows)
    told.signals += label_health.label_signals(shares, told.windows)
    for name in (*label_health.SHARES, label_health.QUARANTINED):
        told.courses[name] = told.windows.series(shares, name)
    taste = habits.taste_course(events, told.windows)
    told.courses["taste: log lift of the topics picked"] = taste.values
    told.signals.append(habits.habit_signal(habits.TASTE, "content_preference", taste))
    soon = early.early_shares(events, told.windows)
    told.signals += early.early_signals(soon, told.windows)
    for name in early.SPANS:
        told.courses[f"answered {name}"] = told.windows.series(soon, name)


def _decisions(
    told: Monitored, log: pl.LazyFrame, events: pl.LazyFrame, meant: Meant
) -> pl.DataFrame:
    """Judge the decisions; those of the newest window, of every policy."""
    windows = told.windows
    told_of = log.filter(pl.col("at") >= windows.begin)
    everything = decisions_once(told_of, events, as_of=windows.as_of)
    decided = everything.filter(pl.col("policy") == meant.policy)
    told.other_policy = len(everything) - len(decided)
    found = outcomes(decided, events, as_of=windows.as_of)
    told.found = found
    rows = found.rows
    newest = decided.filter(pl.col("at") >= windows.newest)
    told.signals += arms.mismatch_signals(decided, rows, share=meant.holdout)
    month = pl.col("at").is_between(windows.as_of - MONTH_US, windows.as_of)
    earlier = pl.col("at").is_between(windows.as_of - 2 * MONTH_US, windows.as_of - MONTH_US)
    told.signals.append(arms.lift_signal(rows.filter(month), rows.filter(earlier)))
    told.signals += exploring.floor_signals(
        newest, epsilon=meant.epsilon, epsilon_hour=meant.epsilon_hour
    )
    told.signals += exploring.draw_signals(decided)
    told.signals.append(exploring.entropy_signal(decided, windows))
    told.signals.append(exploring.coverage_signal(decided, windows))
    told.signals += drawn.drawn_signals(rows.filter(month))
    told.signals.append(order.order_signal(rows, epsilon=meant.epsilon))
    shares = answers.fallback_shares(everything, windows)
    told.signals += answers.fallback_signals(shares, windows)
    for (reason,), some in shares.partition_by("fallback", as_dict=True).items():
        if reason != answers.NONE:
            told.courses[f"fallback {reason}"] = windows.series(some, "share")
    return everything.filter(pl.col("at") >= windows.newest)


def _fresh(sources: Sources, events: pl.LazyFrame, windows: Windows) -> list[Signal]:
    known = events.select("received_at").filter(pl.col("received_at") >= windows.begin)
    moments = known.sort("received_at").collect()["received_at"].to_numpy()
    edge = events.select(pl.col("received_at").max()).collect().item()
    unfolded, why = _unfolded(sources)
    signals = answers.freshness_signals(
        edge,
        as_of=windows.as_of,
        longest_silence_us=int(np.diff(moments).max(initial=0)),
        unfolded_at=unfolded,
    )
    if why and len(signals) > 1:
        signals[1] = unjudged(answers.FRESHNESS, "online store", why)
    return signals


def _unfolded(sources: Sources) -> tuple[int | None, str]:
    """When the oldest event became known that is not online, or why that is not told."""
    if not sources.is_now:
        return None, "a moment of the past: the online store is always of now"
    if sources.store is None:
        return None, "there is no online store; run `opportune materialize`"
    try:
        waiting = sources.log.read(after=sources.store.progress(PROGRESS), limit=1)
    except StoreUnavailableError as error:
        return None, str(error)
    return (waiting[0][1].received_at if waiting else None), ""
