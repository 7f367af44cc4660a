"""The same features on one machine and on Spark with two executors: equal bits, and the price.

In: reading Parquet, bringing events together, the recipient view at four moments of everyone,
writing Parquet. Out: starting Spark, and one small run of both before (compiling). CPU is that of
every process under this one. Run it with
`SPARK_EVENTS=5000000 python -m tests.benchmarks.bench_spark`.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import psutil
from pyspark.sql import SparkSession

from features import batch
from features.assemble import matrix
from features.definitions.recipient import VIEW
from features.events.compact import SCHEMA
from features.layout import layout_of
from features.spark import features_at
from features.spark_session import session

START, DAYS = 1_700_000_000_000_000, 180
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def synthetic(n: int) -> pl.DataFrame:
    """Human events of n / 100 recipients over half a year, some learnt up to three days late."""
    rng = np.random.default_rng(1)
    kinds = np.array(["delivered", "opened", "clicked", "page_viewed", "purchased"])
    occurred = START + rng.integers(0, DAYS * DAY_US, n)
    late = np.where(rng.random(n) < 0.05, rng.integers(0, 3 * DAY_US, n), 0)
    people = pl.Series(rng.integers(0, n // 100, n)).cast(pl.String)
    drawn = pl.DataFrame({
        "offset": np.arange(1, n + 1), "type": kinds[rng.integers(0, 5, n)],
        "recipient_key": "r" + people, "occurred_at": occurred, "received_at": occurred + late,
        "actor": "human",
    })  # fmt: skip
    rest = [
        pl.lit("" if kind == pl.String else None, kind).alias(name)
        for name, kind in SCHEMA.items()
        if name not in drawn.columns
    ]
    return drawn.with_columns(rest).select(SCHEMA.names())


def events_of(n: int) -> pl.DataFrame:
    """Events with long ids; one in 5,000 is labelled anew, and ten people are erased."""
    event_id = "0190a7c2-58e1-7c3f-b1d4-" + pl.col("offset").cast(pl.String).str.zfill(12)
    plain = synthetic(n).with_columns(
        event_id=event_id, properties=pl.lit("{}"), actor_reasons=pl.lit("[]")
    )
    learnt = pl.col("received_at") + HOUR_US
    labels = plain.filter(type="opened").sample(max(n // 5_000, 1), seed=3).with_columns(
        type=pl.lit("relabelled"), actor=pl.lit("machine"), occurred_at=learnt, received_at=learnt,
        event_id="label " + pl.col("event_id"),
        properties=pl.concat_str(pl.lit('{"event_id":"'), "event_id", pl.lit('"}')),
    )  # fmt: skip
    erased = plain.sample(10, seed=4).with_columns(
        type=pl.lit("erased"), event_id="erased " + pl.col("event_id")
    )
    every = pl.concat([plain, labels, erased]).with_columns(
        offset=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    )
    return every.select(SCHEMA.names())


def locally(folder: Path) -> None:
    """From Parquet to Parquet in this process."""
    layout, spine = layout_of(VIEW), pl.read_parquet(folder / "spine.parquet")
    events = pl.scan_parquet(folder / "events.parquet")
    table = batch.event_table(events, key="recipient_key", layout=layout)
    rows = matrix(batch.read_at(table, spine, layout, with_weeks=False), VIEW)
    out = spine.hstack(pl.DataFrame(rows, schema=list(VIEW.names)))
    out.write_parquet(folder / "local.parquet", compression="snappy")


def on_spark(folder: Path, spark: SparkSession) -> None:
    """From Parquet to Parquet in two executors."""
    events = spark.read.parquet(f"{folder}/events.parquet")
    spine = spark.read.parquet(f"{folder}/spine.parquet")
    rows = features_at(events, spine, view=VIEW, key="recipient_key")
    rows.write.mode("overwrite").parquet(f"{folder}/spark")


def write(folder: Path, n: int) -> int:
    """Events and spine of a size as Parquet; gives the number of rows asked for."""
    folder.mkdir()
    events = events_of(n)
    events.write_parquet(folder / "events.parquet", row_group_size=500_000)
    moments = pl.DataFrame({"at": [START + (DAYS - 14 * i) * DAY_US for i in range(4)]})
    keys = events.select(pl.col("recipient_key").unique().sort().alias("key"))
    spine = keys.join(moments, how="cross")
    spine.write_parquet(folder / "spine.parquet")
    return len(spine)


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds; CPU of this process and of all below it, the ended ones too."""
    begin, wall = _cpu_s(), perf_counter()
    work()
    return _cpu_s() - begin, perf_counter() - wall


def _cpu_s() -> float:
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in [me, *me.children(recursive=True)])


def main() -> None:
    n = int(os.environ.get("SPARK_EVENTS", "5000000"))
    with tempfile.TemporaryDirectory() as root:
        begin = perf_counter()
        spark = session(workers=2, memory_mb=2_048)
        start_s = perf_counter() - begin
        small, large = Path(root) / "small", Path(root) / "large"
        write(small, 20_000)
        n_rows = write(large, n)
        for folder in (small, large):
            local_cpu_s, local_s = measured(lambda folder=folder: locally(folder))
            spark_cpu_s, spark_s = measured(lambda folder=folder: on_spark(folder, spark))
        spark.stop()
        local, far = (
            pl.read_parquet(f"{large}/{files}").sort("key", "at")
            for files in ("local.parquet", "spark/*.parquet")
        )
    np.testing.assert_array_equal(far["key"], local["key"])
    np.testing.assert_array_equal(*(f.drop("key").to_numpy() for f in (far, local)), strict=True)
    sys.stdout.write(
        f"{n:,} events, {n_rows:,} rows of {len(VIEW.names)} features, all bits equal\n"
        f"one process: {local_cpu_s:.1f} s of CPU, {local_s:.1f} s\n"
        f"Spark, two executors of one core: {spark_cpu_s:.1f} s of CPU, {spark_s:.1f} s"
        f" (and {start_s:.0f} s to start)\n"
        f"ratio: CPU {spark_cpu_s / local_cpu_s:.1f}, wall {spark_s / local_s:.1f}\n"
    )


if __name__ == "__main__":
    main()
