"""Features and states on Spark: the rows of a key brought together, then the local functions.

For logs beyond one machine. `repartition` brings a key's events and the moments asked for to one
task, `sortWithinPartitions` gives them a total order, and `mapInArrow` hands them to the very
functions of `features.batch`: nothing is computed a second way, so the bits are the same.
"""

from functools import partial

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - its name everywhere
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    FloatType,
    LongType,
    ShortType,
    StringType,
    StructField,
    StructType,
)

from features.errors import FeatureError
from features.events.schema import TARGET, EventType
from features.kinds import Rate
from features.layout import layout_of
from features.spark_batches import (
    ASKED,
    POOLED,
    feature_rows,
    pool_parts,
    pool_sums,
    state_rows,
)
from features.spec import FeatureView

_TEXTS = ("event_id", "type", "recipient_key", "device", "actor", "actor_reasons", "properties")
_TYPES: dict[str, DataType] = {
    "offset": LongType(),
    "occurred_at": LongType(),
    "received_at": LongType(),
    "value": DoubleType(),
    "utc_offset_min": ShortType(),
    **{name: StringType() for name in _TEXTS},
}
_TASTES = {"topics": ArrayType(StringType()), "content_id": StringType(), "timezone": StringType()}
_ORDER = ("known_at", "offset")
_KNOWN_AT = ("occurred_at", "received_at")


class TableUnusableError(FeatureError):
    """A Spark table lacks columns, or has them in another type."""

    def __init__(self, table: str, problem: str, remedy: str) -> None:
        super().__init__(f"{table} table: {problem}; {remedy}")


def features_at(events: DataFrame, spine: DataFrame, *, view: FeatureView, key: str) -> DataFrame:
    """The view's features at the spine's moments: key, at, one float column per feature.

    Equals `features.batch` on the same events in the order of their offsets, bit for bit; where
    the view is pooled, rates that are shrunk to the pool are equal to 1e-6 relative, since the
    pool's sums are added up task by task. A value that is missing is NaN, not null. Rows come
    in no order; a row asked for twice comes twice.

    Args:
        events: The columns of `features.events.compact.SCHEMA` that features are made of, and
            `key`. Each event_id once. Times in microseconds, bigint.
        spine: Columns `key` (string) and `at` (bigint, microseconds); it may be read twice and
            must be the same each time.
        key: The column of `events` that names the entity: recipient_key or content_id.

    Raises:
        TableUnusableError: A column is missing or of another type.
        ValueError: A pooled rate is made of hours, which do not add up over tasks.
    """
    _check("events", events, {**_TYPES, key: StringType()})
    _check("spine", spine, {"key": StringType(), "at": LongType()})
    spine = spine.select("key", "at")
    keyed = _keyed(events, key, _TYPES)
    if layout_of(view).is_pooled:
        spine = spine.join(_pool(keyed, spine, view, key), on="at", how="left")
    yes, no = F.expr("true"), F.expr("false")
    asked = spine.withColumnRenamed("key", key).withColumn(ASKED, yes)
    rows = keyed.withColumn(ASKED, no).unionByName(asked, allowMissingColumns=True)
    together = _together(rows, key)
    schema = [StructField("key", StringType()), StructField("at", LongType())]
    schema += [StructField(name, FloatType()) for name in view.names]
    return together.mapInArrow(partial(feature_rows, view=view, key=key), StructType(schema))


def states_of(events: DataFrame, *, view: FeatureView) -> DataFrame:
    """The newest state of every recipient: key, seen (log offset), at, state (packed bytes).

    Equals `features.bulk_states` on the same events, bit for bit. What an empty online store is
    filled with (`put`), together with the log's head as its progress.

    Args:
        events: All columns of `features.events.compact.SCHEMA`.

    Raises:
        TableUnusableError: A column is missing or of another type.
        ValueError: The view is not of recipients.
    """
    if not layout_of(view).is_person:
        problem = f"states of {view.name} would need the state of all its keys together"
        raise ValueError(f"{problem}; make them with features.bulk_states on one machine")
    _check("events", events, {**_TYPES, **_TASTES})
    keyed = _keyed(events, "recipient_key", {**_TYPES, **_TASTES}, every_property=True)
    schema = "key string, seen bigint, at bigint, state binary"
    rows = partial(state_rows, view=view, key="recipient_key")
    return _together(keyed, "recipient_key").mapInArrow(rows, schema)


def _keyed(
    events: DataFrame, key: str, types: dict[str, DataType], *, every_property: bool = False
) -> DataFrame:
    """Events that belong to a key, its corrections among them, and when each was known."""
    if key != "recipient_key":
        events = _corrections_beside(events, key)
    texts = [name for name, kind in types.items() if kind == StringType()]
    columns: dict[str, Column] = {name: F.col(name) for name in {**types, key: None}}
    columns |= {name: F.coalesce(name, F.lit("")) for name in {*texts, key}}
    if not every_property:  # only a label's are read, and texts are most of what is moved
        is_label = F.col("type") == EventType.RELABELLED.value
        columns["properties"] = F.when(is_label, columns["properties"])
    chosen = events.select(*(column.alias(name) for name, column in columns.items()))
    return chosen.filter(F.col(key) != "").withColumn("known_at", F.greatest(*_KNOWN_AT))


def _together(rows: DataFrame, key: str) -> DataFrame:
    return rows.repartition(key).sortWithinPartitions(key, *_ORDER)


def _corrections_beside(events: DataFrame, key: str) -> DataFrame:
    """What a person's corrections do to events of other entities.

    Events erased with a person are gone; a label stands under the key of the event it is about.
    """
    is_label = F.col("type") == EventType.RELABELLED.value
    is_erased = F.col("type") == EventType.ERASED.value
    until = events.filter(is_erased).groupBy("recipient_key").agg(
        F.max("occurred_at").alias("until"))  # fmt: skip
    is_kept = F.col("until").isNull() | (F.col("occurred_at") > F.col("until"))
    kept = events.join(until, "recipient_key", "left").filter(is_kept | is_erased | is_label)
    meant = events.filter(~is_label).select(
        "recipient_key", F.col("event_id").alias("target"), F.col(key).alias("its_key")
    )
    labels = (
        kept.filter(is_label)
        .withColumn("target", F.get_json_object("properties", f"$.{TARGET}"))
        .join(meant, ["recipient_key", "target"], "inner")
        .withColumn(key, F.col("its_key"))
    )
    return kept.filter(~is_label).unionByName(labels.select(kept.columns))


def _pool(keyed: DataFrame, spine: DataFrame, view: FeatureView, key: str) -> DataFrame:
    """All keys together at each moment of the spine: what pooled rates are shrunk to."""
    pooled = [f for f in view.features if isinstance(f, Rate) and f.pooled]
    for rate in pooled:
        if rate.top.signal.per_hour or rate.bottom.signal.per_hour:
            problem = f"{rate.name} of {view.name} is pooled and counts hours"
            raise ValueError(f"{problem}; hours of several tasks do not add up: count events")
    found = spine.select("at").distinct().dropna().toArrow()
    moments = np.sort(found.column("at").to_numpy())
    schema = StructType([
        StructField("at", LongType()),
        StructField(POOLED[0], ArrayType(DoubleType())),
        StructField(POOLED[1], ArrayType(LongType())),
    ])  # fmt: skip
    part = partial(pool_parts, view=view, key=key, moments=moments)
    parts = _together(keyed, key).mapInArrow(part, schema)
    numbered = parts.withColumn("part", F.spark_partition_id())
    laid = numbered.repartition("at").sortWithinPartitions("at", "part")
    return laid.mapInArrow(pool_sums, schema)


def _check(table: str, frame: DataFrame, wanted: dict[str, DataType]) -> None:
    found = {field.name: field.dataType for field in frame.schema.fields}
    wrong = [
        f"{name} is {found[name].simpleString() if name in found else 'missing'}, "
        f"not {kind.simpleString()}"
        for name, kind in wanted.items()
        if name not in found or found[name].simpleString() != kind.simpleString()
    ]
    if wrong:
        remedy = "cast them (timestamps with unix_micros); docs/spark.md lists the columns"
        raise TableUnusableError(table, ", ".join(wrong), remedy)
