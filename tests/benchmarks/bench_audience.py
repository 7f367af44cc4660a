"""Whole audiences: `opportune score` without its command line, a chunk at a time, in one process.

    OPPORTUNE_BENCH_RECIPIENTS=100000 python -m tests.benchmarks.bench_audience

A small world with its three models, whose people stand in a SQLite store again and again under
other keys. In: reading the store, three graphs, decisions, kept decisions, Parquet. Out: starting,
reading the audience, joining the parts. CPU seconds of this process; those of the parts take the
clock's own time with them.
"""

import gc
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest.mock import patch

import polars as pl
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from features.definitions.recipient import VIEW as RECIPIENT
from features.packed import PackedStore
from features.packed_rows import head_of
from models.runtime import Session
from pipelines import plan_chunk
from pipelines.audience import Chunk, read_audience
from pipelines.plan_chunk import Planner
from pipelines.plan_run import Order, job_of
from pipelines.send_file import ANYBODY, Send
from serving import decider
from serving.settings import ServingSettings
from tests.conftest import NOW, make_world

N: Final = int(os.environ.get("OPPORTUNE_BENCH_RECIPIENTS", "100000"))
CANDIDATES: Final = (0, 1, 5, 20)
STAGES: Final = {
    "the three graphs": (Session, "run"),
    "reading and unpacking states": (decider.Decider, "known"),
    "scoring, graphs included": (decider, "predict"),
    "deciding": (plan_chunk, "decide_each"),
    "the plan as a table": (plan_chunk, "plan_of"),
    "Parquet, fsync": (Planner, "_put"),
}


def filled(folder: Path) -> tuple[Path, list[tuple[str, list[str]]]]:
    """A data directory with the people repeated, and its items; and the audience beside it."""
    told = make_world(folder / "data", now=NOW)
    keys = [f"b{i:07d}" for i in range(N)]
    with PackedStore(folder / "data" / "online.sqlite") as store:
        blobs = [one for one in store.get(RECIPIENT.entity, told["people"]) if one is not None]
        for start in range(0, N, 10_000):
            some = enumerate(keys[start : start + 10_000], start)
            found = ((key, blobs[i % len(blobs)]) for i, key in some)
            store.put(RECIPIENT.entity, [(key, *head_of(blob), blob) for key, blob in found])
    pl.DataFrame({"recipient_key": keys}).write_parquet(folder / "audience.parquet")
    return folder / "data", list(told["items"].items())


def planner_of(order: Order, settings: ServingSettings) -> Planner:
    return Planner(job_of(order.send, settings, as_of=NOW, is_dry=order.is_dry))


@contextmanager
def timed(spent: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds that each stage takes."""

    def clocked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*args, **more)
            finally:
                spent[name] += time.thread_time() - began

        return run

    with ExitStack() as stack:
        for name, (owner, method) in STAGES.items():
            stack.enter_context(patch.object(owner, method, clocked(name, getattr(owner, method))))
        yield


def cpu_s(planner: Planner, chunks: list[Chunk], part: Path) -> float:
    began = time.process_time()
    for chunk in chunks:
        planner.write(chunk, part)
    return time.process_time() - began


def main() -> None:
    table = Table("candidates", "a CPU second", "with kept decisions", "us", "aimed at")
    parts = Table("part of the cost, us a recipient", *(f"{n} candidates" for n in (0, 20)))
    shares: dict[str, list[str]] = defaultdict(list)
    with TemporaryDirectory() as scratch, threadpool_limits(1):
        folder = Path(scratch)
        data, items = filled(folder)
        for n in CANDIDATES:
            asked = [{"content_id": item, "topics": topics} for item, topics in items[:n]]
            told = {"recipient_key": ANYBODY, "send_id": f"bench-{n}", "candidates": asked}
            send = Send.model_validate(told)
            audience = read_audience(folder / "audience.parquet", send)
            order = Order(audience, send, folder / "plan.parquet", now=NOW)
            settings = ServingSettings(data_dir=data, mlflow_url="")
            first, *chunks = audience.chunks(order.chunk)
            planner = planner_of(replace(order, is_dry=True), settings)
            planner.write(first, folder / "part")
            gc.collect()
            gc.freeze()
            gc.disable()
            n_rows = sum(len(chunk.keys) for chunk in chunks)
            plain = cpu_s(planner, chunks, folder / "part")
            kept = cpu_s(planner_of(order, settings), chunks, folder / "part")
            table.add_row(
                str(n), f"{n_rows / plain:,.0f}", f"{n_rows / kept:,.0f}",
                f"{1e6 * plain / n_rows:.0f}", ">= 20,000",
            )  # fmt: skip
            if n in {0, 20}:
                spent: dict[str, float] = defaultdict(float)
                with timed(spent):
                    cpu_s(planner, chunks, folder / "part")
                for name in STAGES:
                    shares[name].append(f"{1e6 * spent[name] / n_rows:.0f}")
    for name, cells in shares.items():
        parts.add_row(name, *cells)
    Console(width=120).print(table, parts)


if __name__ == "__main__":
    main()
