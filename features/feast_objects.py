"""Feast entities, sources, views and services, generated from the definitions.

Three sorts of views: *states* go online (one packed blob, pushed or materialized), *now* views
read them at request time through `assemble`, and *features* are the training rows that `batch`
computed at the labels' own moments, joined point in time by Feast.
"""

import inspect
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import features.feast_environment  # noqa: F401  before Feast

# isort: split
import polars as pl
from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.data_format import ParquetFormat
from feast.types import Array, Bytes, Float32, Int64, String

from features import definitions, feast_now, spec
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.layout import layout_of

if TYPE_CHECKING:
    from types import FunctionType

RECIPIENT: Final = Entity(
    name="recipient", join_keys=["recipient_key"], value_type=ValueType.STRING,
    description="The person mailed; an opaque key, never an address.",
)  # fmt: skip
CONTENT: Final = Entity(
    name="content", join_keys=["content_id"], value_type=ValueType.STRING,
    description="One thing that can be shown in a mail or on the site.",
)  # fmt: skip
COHORT: Final = Entity(
    name="cohort", join_keys=["cohort"], value_type=ValueType.STRING,
    description="The people of one country, as events tell it.",
)  # fmt: skip
ENTITIES: Final = {"recipient": RECIPIENT, "content": CONTENT, "cohort": COHORT}
# Training rows are computed at the label's own moment: an older one is never what was asked
# for, and a short life keeps Feast's join linear.
FRESH: Final = timedelta(seconds=1)
RHYTHM_VIEW: Final = "recipient_rhythm"
AFFINITY_VIEW: Final = "affinity_features"
COHORT_VIEW: Final = "cohort_affinity_features"
POOL_VIEW: Final = "content_pool_state"
# Rows of past midnights, for whoever asks Feast about any moment: the newest midnight before it.
HISTORY_TTL: Final = timedelta(days=31)
NO_DAY: Final = "none"  # the file of a history without days, for Feast to read columns from
# The one field of each state view; Feast hands columns to functions by these names alone.
STATE_FIELDS: Final = {
    "recipient_state": feast_now.RECIPIENT_STATE,
    "content_state": feast_now.CONTENT_STATE,
    "cohort_state": feast_now.COHORT_STATE,
    POOL_VIEW: feast_now.CONTENT_POOL,
}
_KINDS: Final = {"Bytes": pl.Binary, "Float32": pl.Float32, "Array(Float32)": pl.List(pl.Float32)}


class NowView(OnDemandFeatureView):
    """A view whose schema is complete: Feast need not try its function on made-up bytes."""

    def infer_features(self) -> None:
        """Nothing is to be inferred."""


def state_view_name(entity: str) -> str:
    """The view that holds an entity's packed states."""
    return f"{entity}_state"


def history_view_name(view: spec.FeatureView) -> str:
    """The view of an entity's features at past midnights."""
    return f"{view.entity}_history"


HISTORY: Final = {history_view_name(view): view for view in definitions.VIEWS}


def objects(data_dir: Path) -> list[Any]:
    """Everything `feast apply` registers; sources are Parquet files under `data_dir`."""
    views = {view.name: _features_view(view.name, view, data_dir) for view in definitions.VIEWS}
    states = {view.entity: _state_view(view, data_dir) for view in definitions.VIEWS}
    pool = _pool_view(data_dir)
    rhythm = _view(RHYTHM_VIEW, [RECIPIENT], [Field(name="rhythm", dtype=Array(Float32))], data_dir)
    affinity = _view(AFFINITY_VIEW, [RECIPIENT, CONTENT], _fields(AFFINITY_FEATURES), data_dir)
    cohort = _view(COHORT_VIEW, [COHORT, CONTENT], _fields(COHORT_FEATURES), data_dir)
    now = _now_views(states, pool)
    training: dict[str, list[Any]] = {
        "churn": [views["recipient_features"]],
        "send_time": [rhythm, views["recipient_features"]],
        "content_preference": [
            views["recipient_features"],
            views["content_features"],
            affinity,
            cohort,
        ],
    }
    online: dict[str, list[Any]] = {
        "churn": [now["recipient_now"]],
        "send_time": [now["recipient_now"]],
        "content_preference": list(now.values()),
    }
    services = [
        *(FeatureService(name=f"{model}_v1", features=held) for model, held in training.items()),
        *(FeatureService(name=f"{model}_now_v1", features=held) for model, held in online.items()),
    ]
    history = [
        _features_view(name, view, data_dir, ttl=HISTORY_TTL) for name, view in HISTORY.items()
    ]
    feature_views = [*views.values(), *states.values(), pool, rhythm, affinity, cohort, *history]
    return [*ENTITIES.values(), *feature_views, *now.values(), *services]


def source_file(view: str, data_dir: Path, *, day: str = NO_DAY) -> Path:
    """The Parquet file behind a view; of a history that of a day (2026-01-31)."""
    if view in HISTORY:
        return data_dir / view / f"{day}.parquet"
    return data_dir / f"{view}.parquet"


def stamped(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with Feast's two times in place of `at` (microseconds)."""
    moment = pl.col("at").cast(pl.Datetime("us", "UTC"))
    return rows.with_columns(event_timestamp=moment, created=moment).drop("at")


def write_source(
    frame: pl.DataFrame,
    view: str,
    data_dir: Path,
    *,
    day: str = NO_DAY,
    about: dict[str, str] | None = None,
) -> None:
    """Replace a view's file; a reader sees the old rows or the new ones.

    Args:
        about: Kept in the file beside the rows.
    """
    target = source_file(view, data_dir, day=day)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Dotted, no reader of a folder sees it; its own, another process may write the same view.
    scratch = target.with_name(f".{target.stem}.{os.getpid()}.tmp")
    frame.write_parquet(scratch, compression="snappy", metadata=about)
    scratch.replace(target)


def make_missing_sources(items: Iterable[Any], data_dir: Path) -> None:
    """Write an empty file for each view that has none yet; Feast wants one to read."""
    for item in items:
        if isinstance(item, FeatureView) and not source_file(item.name, data_dir).exists():
            held = [ENTITIES[name].join_key for name in item.entities if name in ENTITIES]
            schema: dict[str, Any] = dict.fromkeys(held, pl.String)
            schema |= {field.name: _KINDS[str(field.dtype)] for field in item.features}
            stamps = dict.fromkeys(["event_timestamp", "created"], pl.Datetime("us", "UTC"))
            write_source(pl.DataFrame(schema=schema | stamps), item.name, data_dir)


def _features_view(
    name: str, view: spec.FeatureView, data_dir: Path, *, ttl: timedelta = FRESH
) -> FeatureView:
    fields = [
        Field(name=feature.name, dtype=Float32, description=feature.describe()[0])
        for feature in view.features
    ]
    return _view(name, [ENTITIES[view.entity]], fields, data_dir, ttl=ttl)


def _fields(named: Iterable[tuple[str, str]]) -> list[Field]:
    return [Field(name=name, dtype=Float32) for name, _ in named]


def _state_view(view: spec.FeatureView, data_dir: Path) -> FeatureView:
    name = state_view_name(view.entity)
    return _online_view(name, [ENTITIES[view.entity]], view, data_dir)


def _pool_view(data_dir: Path) -> FeatureView:
    """The one state of all items together, without a key; it is stored with the items' states.

    Feast materializes it with them, as the row of the empty key: this view's own file is empty.
    """
    view = next(view for view in definitions.VIEWS if layout_of(view).is_pooled)
    return _online_view(POOL_VIEW, [], view, data_dir)


def _online_view(
    name: str, entities: list[Entity], view: spec.FeatureView, data_dir: Path
) -> FeatureView:
    return _view(
        name,
        entities,
        [Field(name=STATE_FIELDS[name], dtype=Bytes)],
        data_dir,
        online=True,
        ttl=timedelta(days=3_650),  # the online store itself forgets at the view's time to live
        tags={"layout": f"{layout_of(view).digest:08x}"},
    )


def _view(
    name: str, entities: list[Entity], fields: list[Field], data_dir: Path, **more: Any
) -> FeatureView:
    file = source_file(name, data_dir).absolute()
    source: Any = FileSource(
        name=f"{name}_source",
        path=str(file.parent if name in HISTORY else file),
        file_format=ParquetFormat() if name in HISTORY else None,  # else its name says so
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    if more.get("online"):
        source = PushSource(name=f"{name}_push", batch_source=source)
    settings: dict[str, Any] = {"online": False, "ttl": FRESH} | more
    return FeatureView(name=name, entities=entities, schema=fields, source=source, **settings)


def _now_views(states: dict[str, FeatureView], pool: FeatureView) -> dict[str, NowView]:
    as_of = Field(name=feast_now.AS_OF, dtype=Int64, description="Microseconds since 1970 in UTC.")
    moment = RequestSource(name="moment", schema=[as_of])
    topics = Field(
        name=feast_now.TOPICS, dtype=Array(String), description="What the item is about."
    )
    about = RequestSource(name="item_topics", schema=[topics])
    # Without descriptions: Feast forgets an on-demand view's, and then finds the view changed.
    fields = {
        view.entity: [Field(name=name, dtype=Float32) for name in view.names]
        for view in definitions.VIEWS
    }
    rhythm = Field(name=feast_now.RHYTHM, dtype=Array(Float32))
    person, item, cohort = states["recipient"], states["content"], states["cohort"]
    views = [
        _now(feast_now.recipient_now, [person, moment], [*fields["recipient"], rhythm]),
        _now(feast_now.content_now, [item, pool, moment], fields["content"]),
        _now(feast_now.affinity_now, [person, item, moment, about], _fields(AFFINITY_FEATURES)),
        _now(feast_now.cohort_now, [cohort, item, moment, about], _fields(COHORT_FEATURES)),
    ]
    return {view.name: view for view in views}


def _now(function: Callable[..., Any], sources: list[Any], fields: list[Field]) -> NowView:
    return NowView(
        name=function.__name__,
        sources=sources,
        schema=fields,
        mode="python",
        udf=cast("FunctionType", function),
        # Feast runs this text to get the function back: imported, so never an old copy of it.
        udf_string=f"from {function.__module__} import {function.__name__}",
        description=inspect.getdoc(function) or "",
    )
