"""Fit, export, measure and register one candidate; promoting it is another step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from features.consent import consenting
from features.events.forget import n_settled
from features.events.log import EventLog
from features.feast_store import FeastStore
from models.mlflow_registry import Entry, MlflowRegistry, Version
from models.report import Report
from models.runtime import Session
from models.specs import BY_NAME
from pipelines.review import sitting_champion
from training.dataset import PointInTime
from training.export import export
from training.intercept import refit_intercept
from training.monitoring.champions import BACKTEST_FACT, backtest_fact
from training.monitoring.labelled import population
from training.recipe import Order, Trained
from training.recipes import RECIPES


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered version with what was measured on its exported graph."""

    version: Version
    report: Report


def order_for(
    log: EventLog,
    feast: FeastStore,
    *,
    as_of: int | None,
    seed: int,
    horizon_days: float | None,
    step: Callable[[str], None],
) -> Order | None:
    """What to train from: the log as known at `as_of`, by default just after its newest event.

    Recipients who have withdrawn their consent to profiling by then are left out.

    None when no event was known then.
    """
    over = n_settled(log.root)  # before anything is read: an erasure from here on may be too late
    edges = log.scan(as_of=as_of).select(
        pl.col("occurred_at").min().alias("first"),
        pl.max_horizontal("occurred_at", "received_at").max().alias("last"),
    )
    first, last = edges.collect().row(0)
    if first is None:
        return None
    moment = last + 1 if as_of is None else as_of
    data = PointInTime(consenting(log.scan(as_of=moment)).cache(), feast)
    return Order(
        data, moment, first, seed=seed, horizon_days=horizon_days, step=step, n_erasures=over
    )


def retrain(
    name: str,
    *,
    order: Order,
    registry: MlflowRegistry,
    intercept_only: bool = False,
    more_tags: Mapping[str, str] | None = None,
) -> Candidate:
    """Train one model and register it as `candidate`, measured beside the champion.

    Reads nothing later than the order's `as_of`: the same `as_of`, code and seed give the
    same graph, and with the same champion the same bundle.

    Args:
        intercept_only: Keep the champion and fit its intercept anew.
        more_tags: Of the MLflow run and the version, such as the order's digest.

    Raises:
        LabelsImmatureError: The label windows do not fit into the log before `as_of`.
        TooFewRowsError: Too few labelled rows or all of one class.
        ParityError: The exported graph and the estimator disagree.
        RegistryUnavailableError: MLflow refuses.
    """
    spec = BY_NAME[name]
    with TemporaryDirectory() as old, TemporaryDirectory() as scratch:
        champion = sitting_champion(name, registry=registry, into=Path(old))
        told = replace(order, champion=champion)
        trained = refit_intercept(told, name) if intercept_only else RECIPES[name](told)
        report = trained.report
        if champion is not None:
            order.step("back-test: the champion's last window")
            past = backtest_fact(champion.bundle, order.data, as_of=order.as_of)
            report = replace(report, facts=report.facts | {BACKTEST_FACT: past})
        about = (
            {"n_erasures": order.n_erasures}
            | dict(trained.about)
            | _reference(name, trained, order)
        )
        bundle = export(trained.exported, Path(scratch) / name, report=report, about=about)
        order.step("registering in MLflow")
        tags = {
            "fingerprint": bundle.manifest.fingerprint,
            "as_of": bundle.manifest.as_of,
            "verdict": report.in_short,
            "n_erasures": _told(bundle.manifest.n_erasures),
            **(more_tags or {}),
        }
        entry = Entry(report, dict(trained.parameters), dict(trained.pictures), tags)
        version = registry.add(spec, bundle.folder, entry)
    return Candidate(version, report)


def _reference(name: str, trained: Trained, order: Order) -> dict[str, Any]:
    """What drift is measured from: whom the model would be asked about on the day of its making."""
    session = Session(trained.exported.graph, trained.exported.spec)
    columns = population(name, order.data, session, at=order.as_of)
    return {} if columns is None else {"reference": columns.reference(order.as_of)}


def _told(number: int | None) -> str:
    return "" if number is None else str(number)
