"""The update rule in bulk beside SQL: `python -m tests.benchmarks.bench_fold`.

Events in Parquet, features at 1, 12 or 24 weekly moments out: 48 decayed counters (12 signals, 4
half-lives) and 12 recencies, by our fold and by DuckDB in two ways, a join and running windows.
Every case runs in a process of its own, one thread, and tells its CPU seconds and peak memory; the
answers are compared. Below stand the whole recipient view and features at every send.

Sizes: OPPORTUNE_BENCH_EVENTS (1,000,000) and, for the growth, ten times as many.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import duckdb
import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from features import batch
from features.assemble import matrix
from features.definitions import recipient
from features.events.compact import SCHEMA
from features.kinds import DAY, Decayed, Recency
from features.layout import layout_of
from features.signals import ANYONE, Signal
from features.spec import FeatureView

START, DAY_US = 1_700_000_000_000_000, 86_400_000_000
DAYS = 180
HALF_LIVES = (DAY, 7 * DAY, 30 * DAY, 90 * DAY)
SIGNALS = tuple(
    Signal(kind.value, frozenset({kind}), ANYONE)
    for kind in sorted(recipient.ENGAGED | recipient.delivered.types | recipient.sent.types)
)
COUNTERS = tuple(Decayed(signal, half_life) for signal in SIGNALS for half_life in HALF_LIVES)
VIEW = FeatureView(
    "bench", "recipient", DAY, (*COUNTERS, *(Recency(s) for s in SIGNALS)), recipient.active
)
Answer = tuple[np.ndarray, float]


def write_events(file: Path, n: int) -> None:
    """Events of n / 10 recipients over half a year, skewed; half of the mail's opens machines'."""
    rng = np.random.default_rng(1)
    kinds = np.array([next(iter(signal.types)).value for signal in SIGNALS])
    people = np.minimum(rng.lognormal(0.0, 1.0, n) / 60 * (n // 10), n // 10 - 1).astype(np.int64)
    occurred = np.sort(START + rng.integers(0, DAYS * DAY_US, n))
    fixed = {name: pl.lit("" if kind == pl.String else None, kind) for name, kind in SCHEMA.items()}
    fixed |= {"actor": pl.lit("human"), "actor_reasons": pl.lit("[]"), "properties": pl.lit("{}")}
    fixed |= {"value": pl.lit(1.0), "utc_offset_min": pl.lit(60, pl.Int16)}
    told = {
        "offset": np.arange(1, n + 1), "type": kinds[rng.integers(0, len(kinds), n)],
        "recipient_key": "r" + pl.Series(people).cast(pl.String),
        "occurred_at": occurred, "received_at": occurred,
    }  # fmt: skip
    frame = pl.DataFrame(told).with_columns(
        *(value.alias(name) for name, value in fixed.items() if name not in told)
    )
    frame.select(SCHEMA.names()).write_parquet(file, compression="snappy")


def spine_of(file: Path, snapshots: int) -> pl.DataFrame:
    """Everybody with an event in the week before each weekly moment; 0: every send."""
    events = pl.scan_parquet(file).select(
        pl.col("recipient_key").alias("key"), "type", "occurred_at"
    )
    if snapshots == 0:
        sends = events.filter(pl.col("type") == "sent")
        return sends.select("key", at="occurred_at").unique().sort("key", "at").collect()
    moments = [START + (DAYS - 7 * i) * DAY_US for i in range(snapshots)]
    parts = [
        events.filter(pl.col("occurred_at").is_between(at - 7 * DAY_US, at, closed="left"))
        .select("key").unique().with_columns(at=pl.lit(at, pl.Int64))
        for at in moments
    ]  # fmt: skip
    return pl.concat(parts).sort("key", "at").collect()


def by_fold(file: Path, snapshots: int) -> Answer:
    spine = spine_of(file, snapshots)
    table = batch.event_table(pl.scan_parquet(file), key="recipient_key", layout=layout_of(VIEW))
    begun = process_time()
    rows = batch.features_at(table, spine, VIEW)
    return rows, process_time() - begun


def by_whole_view(file: Path, snapshots: int) -> Answer:
    layout, spine = layout_of(recipient.VIEW), spine_of(file, snapshots)
    table = batch.event_table(pl.scan_parquet(file), key="recipient_key", layout=layout)
    begun = process_time()
    reading = batch.read_at(table, spine, layout)
    return matrix(reading, recipient.VIEW), process_time() - begun


def by_join(file: Path, snapshots: int) -> Answer:
    """Join, then two steps: decayed sums per type and half-life, then one row per moment."""
    spine = spine_of(file, snapshots)
    sums = ", ".join(
        f"sum(pow(2.0, -(s.moment - e.occurred_at) / {h * 1e6})) AS d{i}"
        for i, h in enumerate(HALF_LIVES)
    )
    wide = ", ".join(
        f"coalesce(max(CASE WHEN type = '{s.name}' THEN d{i} END), 0.0)"
        for s in SIGNALS
        for i in range(len(HALF_LIVES))
    )
    last = ", ".join(
        f"max(CASE WHEN type = '{s.name}' THEN (moment - newest) / 864e8 END)" for s in SIGNALS
    )
    query = f"""
        WITH long AS (
          SELECT s.key, s.moment, e.type, {sums}, max(e.occurred_at) AS newest
          FROM spine s LEFT JOIN read_parquet('{file}') e
            ON e.recipient_key = s.key AND e.occurred_at < s.moment AND e.received_at < s.moment
          GROUP BY s.key, s.moment, e.type)
        SELECT key, moment, {wide}, {last} FROM long GROUP BY key, moment"""
    return _asked(query, spine)


def by_window(file: Path, snapshots: int) -> Answer:
    """Running sums of weights that grow from a landmark, read at the moments by ASOF joins."""
    spine = spine_of(file, snapshots)
    middle = START + DAYS // 2 * DAY_US
    sums = ", ".join(
        f"sum(CASE WHEN type = '{s.name}' THEN pow(2.0, (occurred_at - {middle}) / {h * 1e6}) "
        f"ELSE 0.0 END) OVER w AS c{j}_{i}"
        for j, s in enumerate(SIGNALS)
        for i, h in enumerate(HALF_LIVES)
    )
    newest = ", ".join(
        f"max(CASE WHEN type = '{s.name}' THEN occurred_at END) OVER w AS n{j}"
        for j, s in enumerate(SIGNALS)
    )
    values = ", ".join(
        f"coalesce(c{j}_{i} * pow(2.0, -(s.moment - {middle}) / {h * 1e6}), 0.0)"
        for j in range(len(SIGNALS))
        for i, h in enumerate(HALF_LIVES)
    )
    last = ", ".join(f"(s.moment - n{j}) / 864e8" for j in range(len(SIGNALS)))
    query = f"""
        WITH runs AS (
          SELECT recipient_key AS key, occurred_at, {sums}, {newest}
          FROM read_parquet('{file}')
          WINDOW w AS (PARTITION BY recipient_key ORDER BY occurred_at
                       RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))
        SELECT s.key, s.moment, {values}, {last}
        FROM spine s ASOF LEFT JOIN runs r ON r.key = s.key AND r.occurred_at < s.moment"""
    return _asked(query, spine)


def _asked(query: str, spine: pl.DataFrame) -> Answer:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.register("spine", spine.rename({"at": "moment"}).to_arrow())
    frame = connection.execute(query + " ORDER BY 1, 2").pl()
    assert frame.select(spine.columns[0], at="moment").equals(spine)
    return frame.drop(frame.columns[:2]).to_numpy().astype(np.float32), float("nan")


WAYS: dict[str, Callable[[Path, int], Answer]] = {
    "fold": by_fold, "join": by_join, "window": by_window, "whole view": by_whole_view,
}  # fmt: skip


def measure(way: str, file: Path, snapshots: int) -> dict[str, float]:
    """One case in a process of its own."""
    asked = [sys.executable, "-m", "tests.benchmarks.bench_fold", way, str(file), str(snapshots)]
    alone = os.environ | {"POLARS_MAX_THREADS": "1"}
    done = subprocess.run(asked, capture_output=True, text=True, env=alone, check=True)
    return dict(json.loads(done.stdout))


def _one_case(way: str, file: Path, snapshots: int) -> None:
    WAYS[way](file.with_name("small.parquet"), 1)  # imports and compiling are not what is asked
    begun = process_time()
    rows, scanned = WAYS[way](file, snapshots)
    told = {
        "cpu": process_time() - begun, "scan": scanned, "rows": len(rows),
        "mb": _peak_mb(),
        "sum": float(np.nansum(rows[:, : len(COUNTERS)], dtype=np.float64)),
        "days": float(np.nansum(rows[:, len(COUNTERS) :], dtype=np.float64)),
    }  # fmt: skip
    sys.stdout.write(json.dumps(told))


def _peak_mb() -> float:
    """Of this program alone: what `getrusage` tells began with the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    n = int(os.environ.get("OPPORTUNE_BENCH_EVENTS", "1_000_000"))
    table = Table("events", "moments", "way", "rows", "CPU s", "events/s", "of it scan", "peak MB",
                  "fold is faster by", title="features from Parquet, one thread")  # fmt: skip
    cases = [
        (n, 1, "fold"), (n, 1, "join"), (n, 12, "fold"), (n, 12, "join"), (n, 12, "window"),
        (n, 24, "fold"), (n, 24, "join"), (n, 0, "fold"), (n, 0, "join"), (n, 12, "whole view"),
        (10 * n, 1, "fold"), (10 * n, 12, "fold"), (10 * n, 12, "join"), (10 * n, 24, "fold"),
        (10 * n, 0, "fold"), (10 * n, 12, "whole view"),
    ]  # fmt: skip
    base: dict[tuple[int, int], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_events(Path(folder) / "small.parquet", 1_000)
        for size, snapshots, way in cases:
            file = Path(folder) / f"{size}.parquet"
            if not file.exists():
                write_events(file, size)
            found = measure(way, file, snapshots)
            against = base.setdefault((size, snapshots), found)
            if way != "whole view":
                for name in ("rows", "sum", "days"):
                    assert np.isclose(found[name], against[name], rtol=1e-5), (way, name)
            ratio = (
                "" if way in {"fold", "whole view"} else f"{found['cpu'] / against['cpu']:.1f} x"
            )
            table.add_row(
                f"{size:,}", f"{snapshots} weekly" if snapshots else "every send", way,
                f"{found['rows']:,.0f}", f"{found['cpu']:.2f}", f"{size / found['cpu']:,.0f}",
                "" if np.isnan(found["scan"]) else f"{found['scan']:.2f}", f"{found['mb']:,.0f}",
                ratio,
            )  # fmt: skip
            Console(stderr=True).print(f"{size:,} events, {snapshots} moments, {way}: done")
    Console(width=140).print(table)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _one_case(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
