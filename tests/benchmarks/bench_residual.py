"""Would trees on top of the shrunk rhythm pay? `python -m tests.benchmarks.bench_residual`.

A Poisson booster with the log of our rhythm as its offset, on every hour of the week of every
person; its inputs are made from the 168 counts alone. Fitted on the recipe's training rows,
stopped on its validation rows, judged on its later test rows: nats per event over the rhythm, 95 %
intervals over people. Then what the trees alone cost beside the whole graph of today, one thread.

Data: developer activity (see bench_send_time) and the retail log, `OPPORTUNE_BENCH_DATA`.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import onnxruntime
import polars as pl
from numpy.typing import NDArray
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from rich.console import Console
from rich.table import Table

from features.events.log import EventLog
from features.events.mapping import load_mapping
from features.feast_store import FeastStore
from models.runtime import Session
from models.spec import HOURS_PER_WEEK
from pipelines.ingest import ingest
from tests.benchmarks import bench_send_time
from tests.benchmarks.bench_public import DATA
from training import clocks, clusters, rhythm
from training.dataset import PointInTime
from training.recipe import Order
from training.recipes import send_time
from training.rhythm import Past, Rhythm
from training.send_chain import SendChain
from training.send_fit import fit_chain, past_of
from training.send_graph import send_time_graph

MAPPING: Final = bench_send_time.ROOT / "examples/online_retail/mapping.yaml"
SIZES: Final = {"300 trees of 31 leaves": (300, 31), "40 trees of 8 leaves": (40, 8)}
ROWS: Final = (1, 500)

Floats = NDArray[np.float64]


def inputs_of(fitted: Rhythm, past: Past) -> tuple[NDArray[np.float32], Floats]:
    """Per person and hour what the counts say of that hour, and the log rhythm; (n * 168, m)."""
    counts, activity = past.counts, fitted.activity(past)
    n = counts.sum(axis=1, keepdims=True)
    cohort = fitted.prior(past)
    hours, days = counts @ rhythm.TO_HOUR, counts @ rhythm.TO_DAY
    near = [np.roll(counts, k, axis=1) for k in (-2, -1, 1, 2)]
    columns = [
        np.log(activity), np.log(cohort), np.log(activity / cohort), counts, *near,
        counts @ rhythm.SMOOTH, (counts @ rhythm.SMOOTH) / n,
        hours[:, rhythm.HOUR], hours[:, rhythm.HOUR] / n, days[:, rhythm.DAY],
        days[:, rhythm.DAY] / n, n + np.zeros_like(counts),
        (counts > 0).sum(axis=1, keepdims=True) + np.zeros_like(counts),
        fitted.cohorts_of(past).max(axis=1, keepdims=True) + np.zeros_like(counts),
    ]  # fmt: skip
    table = np.stack(columns, axis=2).reshape(-1, len(columns)).astype(np.float32)
    return table, np.log(activity * HOURS_PER_WEEK).ravel()


def fitted_trees(fitted: Rhythm, parts: Any, *, trees: int, leaves: int) -> lgb.Booster:
    sets = []
    for past, later in parts:
        rows, offset = inputs_of(fitted, past)
        share = later / later.sum(axis=1, keepdims=True) * HOURS_PER_WEEK
        sets.append(lgb.Dataset(rows, share.ravel(), init_score=offset, free_raw_data=False))
    sets[1].set_reference(sets[0])
    settings = {
        "objective": "poisson", "learning_rate": 0.05 if trees > 100 else 0.2, "verbosity": -1,
        "num_leaves": leaves, "min_data_in_leaf": 2_000, "lambda_l2": 5.0, "seed": 7,
        "num_threads": 1, "deterministic": True, "force_row_wise": True,
        "bagging_fraction": 0.5, "bagging_freq": 1,
    }  # fmt: skip
    stop = lgb.early_stopping(30, verbose=False)
    return lgb.train(settings, sets[0], trees, [sets[1]], callbacks=[stop])


def corrected(fitted: Rhythm, booster: lgb.Booster, past: Past) -> Floats:
    rows, offset = inputs_of(fitted, past)
    rate = np.exp(offset + booster.predict(rows, raw_score=True)).reshape(past.counts.shape)
    return np.asarray(rate / rate.sum(axis=1, keepdims=True))


def logs(folder: Path) -> Iterator[tuple[str, pl.LazyFrame]]:
    if bench_send_time.FILE.exists():
        yield "developer activity", bench_send_time.imported(folder / "git")
    if (DATA / "online_retail").is_dir():
        with EventLog(folder / "retail") as log:
            ingest(
                DATA / "online_retail/online_retail.parquet", log=log,
                mapping=load_mapping(MAPPING), rejects=folder / "rejects.ndjson",
                received_at=1_900_000_000_000_000, progress=lambda _: None,
            )  # fmt: skip
            yield "retail", log.scan().collect().lazy()


def seconds(run: Callable[[], Any], *, least: float = 0.5) -> float:
    """The shortest of many runs."""
    found, begin = [], time.perf_counter()
    while time.perf_counter() - begin < least or len(found) < 5:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def trees_session(booster: lgb.Booster) -> onnxruntime.InferenceSession:
    types = [("rows", FloatTensorType([None, booster.num_feature()]))]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = convert_lightgbm(booster, initial_types=types, target_opset=15)
    return onnxruntime.InferenceSession(graph.SerializeToString(), options)


def cost(chain: SendChain, fitted: Rhythm, booster: lgb.Booster, counts: Floats) -> list[str]:
    """The graph of today, the trees alone, and both over the first, for few rows and many."""
    today, trees, told = Session(send_time_graph(chain), send_time.SPEC), trees_session(booster), []
    for n in ROWS:
        whole = np.zeros((n, len(send_time.SPEC.inputs)), np.float32)
        whole[:, :HOURS_PER_WEEK] = counts[np.arange(n) % len(counts)]
        rows = {"rows": inputs_of(fitted, Past.local(whole[:, :HOURS_PER_WEEK].astype(float)))[0]}
        now, more = seconds(partial(today.run, whole)), seconds(partial(trees.run, None, rows))
        told.append(f"{1e3 * now:.2f} + {1e3 * more:.2f} ms: {(now + more) / now:.1f} times")
    return told


def measured(name: str, events: pl.LazyFrame, folder: Path, table: Table) -> None:
    moments = events.select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max())
    first, last = moments.collect().row(0)
    feast = FeastStore(folder / "feast", online=folder / "online.sqlite")
    feast.apply()
    order = Order(PointInTime(events, feast), as_of=last + 1, first=first)
    window = 56.0 if order.span_days > 2 * 365 else 14.0
    spine, later = send_time._labelled(order, window)
    past = past_of(order, spine)
    kept = (past.counts.sum(axis=1) > 0) & (later.sum(axis=1) > 0)
    spine, past, later = spine.filter(pl.Series(kept)), past.part(kept), later[kept]
    train, validation, test = send_time._split(spine)
    parts = [(past.part(rows), later[rows]) for rows in (train, validation)]
    fitted = rhythm.fit_rhythm(
        parts[0][0], parts[1], seed=7, cohorts=send_time.COHORTS,
        offsets=clocks.offsets_of(events),
    )  # fmt: skip
    people = np.unique(spine["recipient_key"].to_numpy().astype(str)[test], return_inverse=True)[1]
    before = rhythm.log_likelihood(fitted.activity(past.part(test)), later[test])
    hit = rhythm.hits(fitted.activity(past.part(test)), later[test])
    chain, _ = fit_chain(order, fitted)
    for size, (trees, leaves) in SIZES.items():
        booster = fitted_trees(fitted, parts, trees=trees, leaves=leaves)
        after = corrected(fitted, booster, past.part(test))
        gains = np.stack([rhythm.log_likelihood(after, later[test]) - before,
                          rhythm.hits(after, later[test]) - hit], axis=1)  # fmt: skip
        nats, hits = clusters.means(gains, people)
        costs = cost(chain, fitted, booster, past.counts)
        table.add_row(
            name, size, f"{int(test.sum()):,} of {people.max() + 1:,} people",
            str(booster.num_trees()), str(nats), str(hits), *costs,
        )  # fmt: skip


def main() -> None:
    table = Table("log", "residual", "test", "trees", "nats over the rhythm", "hit@3 over it",
                  *(f"graph of today + trees, rows: {n}" for n in ROWS))  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, events) in enumerate(logs(Path(scratch))):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            measured(name, events, folder, table)
            Console(width=200).print(table)


if __name__ == "__main__":
    main()
