"""Feast entities, views and services, generated from the definitions; nobody writes them by hand.

Two sorts of views: *states* go online (one packed blob, read at request time by `assemble`),
*features* are the training rows that `batch` computed at the labels' own moments, joined
point in time by Feast.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import features.feast_environment  # noqa: F401  before Feast

# isort: split
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bytes, Float32

from features import definitions, spec
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.layout import layout_of

RECIPIENT: Final = Entity(
    name="recipient", join_keys=["recipient_key"], value_type=ValueType.STRING,
    description="The person mailed; an opaque key, never an address.",
)  # fmt: skip
CONTENT: Final = Entity(
    name="content", join_keys=["content_id"], value_type=ValueType.STRING,
    description="One thing that can be shown in a mail or on the site.",
)  # fmt: skip
ENTITIES: Final = {"recipient": RECIPIENT, "content": CONTENT}
# Training rows are computed at the label's own moment: an older one is never what was asked
# for, and a short life keeps Feast's join linear.
FRESH: Final = timedelta(seconds=1)
RHYTHM_VIEW: Final = "recipient_rhythm"
AFFINITY_VIEW: Final = "affinity_features"


def state_view_name(entity: str) -> str:
    """The view that holds an entity's packed states."""
    return f"{entity}_state"


def objects(data_dir: Path) -> list[Any]:
    """Everything `feast apply` registers; sources are Parquet files under `data_dir`."""
    views = {view.name: _features_view(view, data_dir) for view in definitions.VIEWS}
    states = [_state_view(view.entity, data_dir) for view in definitions.VIEWS]
    rhythm = _view(RHYTHM_VIEW, [RECIPIENT], [Field(name="rhythm", dtype=Array(Float32))], data_dir)
    names = [name for name, _ in AFFINITY_FEATURES]
    fields = [Field(name=name, dtype=Float32) for name in names]
    affinity = _view(AFFINITY_VIEW, [RECIPIENT, CONTENT], fields, data_dir)
    services = [
        _service("churn_v1", [views["recipient_features"]]),
        _service("send_time_v1", [rhythm, views["recipient_features"]]),
        _service(
            "content_preference_v1",
            [views["recipient_features"], views["content_features"], affinity],
        ),
    ]
    return [*ENTITIES.values(), *views.values(), *states, rhythm, affinity, *services]


def source_file(view: str, data_dir: Path) -> Path:
    """The Parquet file behind a view."""
    return data_dir / f"{view}.parquet"


def _features_view(view: spec.FeatureView, data_dir: Path) -> FeatureView:
    fields = [
        Field(name=feature.name, dtype=Float32, description=feature.describe()[0])
        for feature in view.features
    ]
    return _view(view.name, [ENTITIES[view.entity]], fields, data_dir)


def _state_view(entity: str, data_dir: Path) -> FeatureView:
    layout = layout_of(next(view for view in definitions.VIEWS if view.entity == entity))
    return _view(
        state_view_name(entity),
        [ENTITIES[entity]],
        [Field(name="state", dtype=Bytes)],
        data_dir,
        online=True,
        ttl=timedelta(days=3_650),
        tags={"layout": f"{layout.digest:08x}"},
    )


def _view(
    name: str, entities: list[Entity], fields: list[Field], data_dir: Path, **more: Any
) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=str(source_file(name, data_dir).absolute()),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    settings: dict[str, Any] = {"online": False, "ttl": FRESH} | more
    return FeatureView(name=name, entities=entities, schema=fields, source=source, **settings)


def _service(name: str, views: list[Any]) -> FeatureService:
    return FeatureService(name=name, features=views)
