"""On Spark with two executors the features are the local ones, bit for bit."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyspark", reason="the extra `spark` is not installed")

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.functions import timestamp_micros

from features import batch
from features.assemble import matrix
from features.bulk_states import states
from features.definitions import AFFINITY
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.definitions.recipient import active, delivered
from features.events.log import EventLog
from features.events.schema import EARLY, Actor, Event, EventType
from features.kinds import DAY, Decayed, Rate
from features.layout import POOL, layout_of
from features.packing import pack
from features.spark import TableUnusableError, features_at, states_of
from features.spark_batches import whole_groups
from features.spark_session import JavaMissingError, java_home
from features.spec import FeatureView
from tests.benchmarks.bench_spark import DAY_US, DAYS, START, synthetic
from tests.features.oracle import HOUR_US, KEY_OF, NIGHTS, OFFSETS, ORDINARY

pytestmark = pytest.mark.long  # half a minute and more of a core

N_LARGE = 200_000
SPRING = tuple(sorted((NIGHTS[0], NIGHTS[2], NIGHTS[4])))  # Europe, America, Lord Howe


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventLog]:
    with EventLog(tmp_path_factory.mktemp("log")) as opened:
        opened.append(messy(np.random.default_rng(11), 2_000))
        opened.compact()
        yield opened


def messy(rng: np.random.Generator, n: int) -> list[Event]:
    """Late ones, equal times, both clock nights, offsets +14 and -12, labels, people erased."""

    def one(values: Any) -> Any:
        return values[rng.integers(len(values))]

    events = []
    for number in range(n):
        at = SPRING[number % 3] + int(rng.integers(0, (4 * HOUR_US, 25 * DAY_US)[number % 2]))
        late = int(one((0, 0, rng.integers(0, 2 * HOUR_US), rng.integers(0, 9 * DAY_US))))
        if number % 50 == 0:
            at = NIGHTS[1] + int(rng.integers(0, 4 * HOUR_US))
        # What came in one delivery was learnt in one moment: only the offset orders it.
        received = -(-(at + late) // HOUR_US) * HOUR_US if rng.random() < 0.5 else at + late
        kind = one((*ORDINARY, EventType.OPENED, EventType.CLICKED, EventType.DELIVERED))
        events.append(Event(
            str(number), kind, f"r{rng.integers(30)}" if rng.random() < 0.95 else "✉ o'cy", at,
            received, content_id=one(("", "", "shoe", "hat", "../x", "sock")),
            topics=one(((), ("red",), ("red", "sea"))), value=one((math.nan, 12.5, 0.01, 999.99)),
            utc_offset_min=one(OFFSETS), device=one(("", "mobile", "desktop", "a teapot")),
            actor=one((*[Actor.HUMAN] * 6, *Actor)),
            actor_reasons=one(((), (), (EARLY,), ("agent", EARLY))),
            properties=one(({}, {"country": "DE"}, {"country": "IS", "x": 1})),
        ))  # fmt: skip
    for number in range(n // 30):
        target = one(events[:n])
        at = target.received_at + int(one((0, 1, rng.integers(0, 9 * DAY_US))))
        # A label may not know what its event was about.
        events.append(Event(
            f"label {number}", EventType.RELABELLED, target.recipient_key, at, at,
            content_id=one(("", target.content_id)), actor=one(list(Actor)),
            actor_reasons=one(((), (EARLY,))), properties={"event_id": target.event_id},
        ))  # fmt: skip
    for number in range(3):
        at = SPRING[0] + int(rng.integers(5, 25)) * DAY_US
        events.append(Event(f"gone {number}", EventType.ERASED, f"r{number}", at, at))
    return sorted(events, key=lambda event: event.received_at)


def spine_of(log: EventLog, view: FeatureView) -> pl.DataFrame:
    """Every key, and a stranger, when and just after something was learnt."""
    events, key = log.scan().collect(), KEY_OF[view.entity]
    learnt = events.filter(pl.col("type") == "relabelled")["received_at"].to_list()[::6]
    moments = [*learnt, *(at + 1 for at in learnt), *(n + 40 * DAY_US for n in NIGHTS), SPRING[0]]
    keys = [*events[key].unique().sort().to_list(), "stranger"]
    asked = [(name, at) for name in keys if name for at in [*moments, moments[0]]]
    return pl.DataFrame(asked, schema={"key": pl.String, "at": pl.Int64}, orient="row")


def locally(events: pl.LazyFrame, spine: pl.DataFrame, view: FeatureView) -> np.ndarray:
    layout = layout_of(view)
    table = batch.event_table(events, key=KEY_OF[view.entity], layout=layout)
    together = spine.with_columns(key=pl.lit(POOL))
    pool = batch.read_at(table, together, layout) if layout.is_pooled else None
    return matrix(batch.read_at(table, spine, layout), view, pool)


def on_spark(
    spark: SparkSession, parquet: str, spine: pl.DataFrame, view: FeatureView
) -> pl.DataFrame:
    events = spark.read.parquet(parquet)
    asked = spark.createDataFrame(spine.to_arrow())
    found = pl.DataFrame(features_at(events, asked, view=view, key=KEY_OF[view.entity]).toArrow())
    assert found.columns == ["key", "at", *view.names]
    return found.sort("key", "at")


# --- the laws ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(RECIPIENT, id="recipient"),
        pytest.param(CONTENT, id="content", marks=pytest.mark.long),
    ],
)
def test_features_of_a_log_with_corrections_are_the_local_ones(spark, log, view):
    spine = spine_of(log, view).sort("key", "at")
    found = on_spark(spark, f"{log.root}/parquet", spine, view)
    assert found.select("key", "at").equals(spine)
    expected = locally(log.scan(), spine, view)
    assert len(np.unique(expected, axis=0)) > len(spine) // 3
    for name, column in zip(view.names, expected.T, strict=True):
        is_pooled = any(isinstance(f, Rate) and f.pooled and f.name == name for f in view.features)
        if is_pooled:
            np.testing.assert_array_max_ulp(found[name].to_numpy(), column, maxulp=1)
        else:
            np.testing.assert_array_equal(found[name].to_numpy(), column, strict=True)


def test_states_are_the_local_ones(spark, log):
    layout = layout_of(RECIPIENT)
    found = states_of(spark.read.parquet(f"{log.root}/parquet"), view=RECIPIENT).toArrow()
    made = states(log.scan(), key="recipient_key", layout=layout, affinity=AFFINITY)
    expected = {name: (s.seen, s.at, pack(s, layout)) for name, s in made}
    rows = found.to_pylist()
    assert len(rows) == len(expected) > 30
    assert {r["key"]: (r["seen"], r["at"], r["state"]) for r in rows} == expected


def test_keys_that_span_batches_and_executors_are_the_local_ones(spark, tmp_path):
    """Two executors, several batches a task, one key larger than a batch, rows in any order."""
    is_crawler, is_old = pl.col("offset") % 3 == 0, pl.col("offset") % 7 == 0
    # Learnt together, months after: in which order decides which hours are still remembered.
    together = (pl.col("received_at") // (60 * DAY_US) + 1) * (60 * DAY_US)
    events = synthetic(N_LARGE).with_columns(
        recipient_key=pl.when(is_crawler).then(pl.lit("crawler")).otherwise("recipient_key"),
        received_at=pl.when(is_old).then(together).otherwise("received_at"),
    )
    shuffled = events.sample(fraction=1.0, shuffle=True, seed=5)
    shuffled.write_parquet(tmp_path / "events.parquet")
    keys = events["recipient_key"].unique().sort()
    moments = [START + days * DAY_US for days in (30, DAYS)]
    spine = pl.DataFrame({"key": keys}).join(pl.DataFrame({"at": moments}), how="cross")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "10000")
    try:
        found = on_spark(spark, str(tmp_path / "events.parquet"), spine, RECIPIENT)
    finally:
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "100000")
    assert events.filter(recipient_key="crawler").height > 6 * 10_000
    assert spark.sparkContext.defaultParallelism == 2
    expected = locally(events.lazy(), spine, RECIPIENT)
    np.testing.assert_array_equal(found.drop("key", "at").to_numpy(), expected, strict=True)


@given(st.lists(st.integers(1, 9), min_size=1), st.lists(st.integers(0, 5)))
def test_batches_cut_anywhere_are_cut_anew_between_keys(runs, cuts):
    keys = [f"k{number}" for number, n in enumerate(runs) for _ in range(n)]
    whole = pa.RecordBatch.from_pydict({"key": keys, "row": list(range(len(keys)))})
    batches, begin = [], 0
    for length in [*cuts, len(keys)]:
        batches.append(whole.slice(begin, length))
        begin += batches[-1].num_rows
    frames = list(whole_groups(batches, "key"))
    assert pl.concat(frames)["row"].to_list() == list(range(len(keys)))
    assert sum(frame["key"].n_unique() for frame in frames) == len(runs)
    assert all(len(frame) for frame in frames)


# --- what is refused --------------------------------------------------------------------------


def test_a_table_without_a_column_or_with_another_type_is_named(spark, log):
    events = spark.read.parquet(f"{log.root}/parquet")
    spine = spark.createDataFrame([("r1", 5)], "key string, at bigint")
    with pytest.raises(TableUnusableError, match="events table: device is missing, not string"):
        features_at(events.drop("device"), spine, view=RECIPIENT, key="recipient_key")
    timed = events.withColumn("occurred_at", timestamp_micros("occurred_at"))
    with pytest.raises(TableUnusableError, match=r"occurred_at is timestamp.*unix_micros"):
        features_at(timed, spine, view=RECIPIENT, key="recipient_key")
    with pytest.raises(ValueError, match=r"features\.bulk_states"):
        states_of(events, view=CONTENT)


def test_a_row_without_a_moment_is_refused(spark, log):
    events = spark.read.parquet(f"{log.root}/parquet")
    spine = spark.createDataFrame([("r1", None)], "key string, at bigint")
    rows = features_at(events, spine, view=RECIPIENT, key="recipient_key")
    with pytest.raises(PySparkException, match=r"\('r1', None\): give a key and a moment"):
        rows.toArrow()


def test_a_pooled_rate_of_hours_is_refused(spark, log):
    hours = Rate(Decayed(active, DAY), Decayed(delivered, DAY), 0.1, 1.0, pooled=True)
    view = FeatureView("by_hours", "content", DAY, (hours,), active)
    spine = spark.createDataFrame([("hat", 5)], "key string, at bigint")
    events = spark.read.parquet(f"{log.root}/parquet")
    with pytest.raises(ValueError, match="hours of several tasks do not add up"):
        features_at(events, spine, view=view, key="content_id")


def test_a_missing_java_is_named_with_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(JavaMissingError, match=r"=/nowhere has no bin/java; set JAVA_HOME"):
        java_home("/nowhere", tmp_path)
    monkeypatch.setattr("features.spark_session.find_spec", lambda _: None)
    with pytest.raises(JavaMissingError, match=r"install opportune\[spark\]"):
        java_home("", tmp_path)


def test_the_java_that_is_told_is_the_one_used(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch()
    assert java_home(str(tmp_path), tmp_path / "own") == tmp_path
    assert not Path(tmp_path / "own").exists()
