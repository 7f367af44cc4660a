"""The update rule in bulk beside SQL: events in memory and sorted on neither side, rows out.

In: sorting events by recipient, reading five counters at 1 or 12 moments of every recipient. Out:
Parquet and the log. SQL computes the same five by the textbook join, and both must agree. Rounds
alternate, so that a busy machine is busy for both; the ratio of the medians is printed. One round
of the whole recipient view (two hundred slots) stands beside them.
"""

import statistics
from time import perf_counter

import duckdb
import numpy as np
import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from features import batch
from features.definitions import recipient
from features.events.compact import SCHEMA
from features.layout import Layout, layout_of
from features.spec import DAY, Decayed, FeatureView

START, DAY_US = 1_700_000_000_000_000, 86_400_000_000
DAYS = 180
COUNTERS = (
    Decayed(recipient.delivered, 30 * DAY),
    Decayed(recipient.opened, 7 * DAY),
    Decayed(recipient.clicked, 30 * DAY),
    Decayed(recipient.page_viewed, 7 * DAY),
    Decayed(recipient.purchased, 60 * DAY),
)
FIVE = layout_of(FeatureView("five", "recipient", DAY, COUNTERS, recipient.active))
ALL = layout_of(recipient.VIEW)


def synthetic(n: int) -> pl.DataFrame:
    """Human events of n / 100 recipients over half a year, some learnt up to three days late."""
    rng = np.random.default_rng(1)
    kinds = np.array(["delivered", "opened", "clicked", "page_viewed", "purchased"])
    occurred = START + rng.integers(0, DAYS * DAY_US, n)
    late = np.where(rng.random(n) < 0.05, rng.integers(0, 3 * DAY_US, n), 0)
    people = pl.Series(rng.integers(0, n // 100, n)).cast(pl.String)
    fixed = {name: pl.lit("" if kind == pl.String else None, kind) for name, kind in SCHEMA.items()}
    return pl.DataFrame({
        "offset": np.arange(1, n + 1), "type": kinds[rng.integers(0, 5, n)],
        "recipient_key": "r" + people, "occurred_at": occurred, "received_at": occurred + late,
    }).with_columns(
        *(value.alias(name) for name, value in fixed.items()
          if name not in {"offset", "type", "recipient_key", "occurred_at", "received_at"}),
    ).with_columns(actor=pl.lit("human")).select(SCHEMA.names())  # fmt: skip


def spine_of(events: pl.DataFrame, n_snapshots: int) -> pl.DataFrame:
    moments = [START + (DAYS - 14 * i) * DAY_US for i in range(n_snapshots)]
    keys = events.select(pl.col("recipient_key").unique().sort().alias("key"))
    return keys.join(pl.DataFrame({"at": moments}), how="cross")


def by_scan(events: pl.DataFrame, spine: pl.DataFrame, layout: Layout = FIVE) -> np.ndarray:
    table = batch.event_table(events.lazy(), key="recipient_key", layout=layout)
    return batch.read_at(table, spine, layout).values


def by_join(connection: duckdb.DuckDBPyConnection) -> np.ndarray:
    sums = ", ".join(
        f"sum(CASE WHEN e.type = '{counter.signal.name}'"
        f" THEN pow(2.0, -(s.at - e.occurred_at) / {counter.half_life * 1e6:.1f}) ELSE 0 END)"
        for counter in COUNTERS
    )
    rows = connection.execute(
        f"SELECT s.row, {sums} FROM spine s JOIN events e ON e.recipient_key = s.key"
        " AND greatest(e.occurred_at, e.received_at) < s.at GROUP BY s.row"
    ).fetchnumpy()
    return np.stack([np.asarray(column) for column in rows.values()], axis=1)


@pytest.mark.benchmark(group="fold", min_rounds=3)
@pytest.mark.parametrize("n_snapshots", [1, 12])
def bench_scan_beside_a_sql_join(
    benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], n_snapshots: int
) -> None:
    events = synthetic(2_000_000 if benchmark.enabled else 20_000)
    spine = spine_of(events, n_snapshots)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("frame", events.select(
            "recipient_key", "type", "occurred_at", "received_at").to_arrow())  # fmt: skip
        connection.execute("CREATE TABLE events AS SELECT * FROM frame")
        connection.register("wanted", spine.with_row_index("row").to_arrow())
        connection.execute("CREATE TABLE spine AS SELECT * FROM wanted")
        by_scan(events.head(1_000), spine.head(10))  # compiles
        joins: list[float] = []
        joined: list[np.ndarray] = []

        def join() -> None:
            begin = perf_counter()
            joined[:] = [by_join(connection)]
            joins.append(perf_counter() - begin)

        scanned = benchmark.pedantic(
            by_scan, args=(events, spine), setup=join, rounds=3 if benchmark.enabled else 1
        )
        if not joined:
            join()

    expected = np.zeros_like(scanned)
    expected[joined[0][:, 0].astype(int)] = joined[0][:, 1:]
    np.testing.assert_allclose(scanned, expected, rtol=1e-9, atol=1e-12)
    if not benchmark.enabled:
        return
    begin = perf_counter()
    by_scan(events, spine, ALL)
    whole_s = perf_counter() - begin
    scan_s, join_s = benchmark.stats.stats.median, statistics.median(joins)
    benchmark.extra_info.update(join_s=join_s, whole_view_s=whole_s, ratio=join_s / scan_s)
    with capsys.disabled():
        print(  # noqa: T201 - a ratio of one run says more than either time
            f"\n{len(events):,} events, {len(spine):,} rows, {len(COUNTERS)} counters: "
            f"sort and scan {scan_s:.2f} s, SQL join {join_s:.2f} s, ratio {join_s / scan_s:.1f}; "
            f"all {ALL.n_slots} slots {whole_s:.2f} s"
        )
