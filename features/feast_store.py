"""The one door to the Feast SDK: registry, point-in-time join, materialization.

Feast keeps the definitions and joins training rows as of each label; its online path goes
through our packed store. Known edges kept behind this door: DuckDB below 2, microsecond
timestamps in Parquet, joins that cut by what was known (`filter_by_created_timestamp`).
"""

import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, Final

import features.feast_environment  # noqa: F401  before Feast

# isort: split
import polars as pl
from feast import FeatureStore

from features.events.schema import SECOND_US
from features.feast_objects import objects, source_file, state_view_name

_YAML: Final = """\
# Written by opportune; `feast -c {folder} ui` and friends work on it.
project: opportune
provider: local
registry: {folder}/registry.db
offline_store:
  type: duckdb
online_store:
  type: features.feast_online_store.PackedOnlineStore
  path: {online}
entity_key_serialization_version: 3
"""


class FeastStore:
    """Feast over one data directory: sources, registry and feature_store.yaml in `folder`."""

    def __init__(self, folder: Path, *, online: Path) -> None:
        self.folder = folder.absolute()
        self._online = online.absolute()

    @cached_property
    def _feast(self) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = _YAML.format(folder=self.folder, online=self._online)
        (self.folder / "feature_store.yaml").write_text(text)
        return FeatureStore(repo_path=str(self.folder))

    def apply(self) -> None:
        """Register every entity, view and service; sources without rows yet get empty files."""
        for item in objects(self.folder):
            if hasattr(item, "batch_source") and not source_file(item.name, self.folder).exists():
                columns = [key for entity in item.entities for key in _JOIN_KEYS[entity]]
                _write(pl.DataFrame(schema=_schema(columns, item)), item.name, self.folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Feast's own deprecations are not ours to fix
            self._feast.apply(objects(self.folder))

    def write_rows(self, view: str, rows: pl.DataFrame) -> None:
        """Replace a view's training rows.

        Args:
            rows: The join keys, `at` (microseconds) and the view's features.
        """
        stamped = rows.with_columns(
            pl.col("at").cast(pl.Datetime("us", "UTC")).alias("event_timestamp"),
            pl.col("at").cast(pl.Datetime("us", "UTC")).alias("created"),
        ).drop("at")
        _write(stamped, view, self.folder)

    def training_frame(self, spine: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
        """Join features to the spine as of each row's moment, in the spine's order.

        Args:
            spine: The join keys and `at` (microseconds).
            features: Of the form `view:feature`.
        """
        moments = pl.col("at").cast(pl.Datetime("us", "UTC")).alias("event_timestamp")
        entities = spine.with_row_index("row").with_columns(moments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ibis and pandas warn about each other's versions
            job = self._feast.get_historical_features(
                entity_df=entities.to_pandas(),
                features=list(features),
                filter_by_created_timestamp=True,
            )
            joined = job.to_arrow()
        frame = pl.from_arrow(joined)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError("Feast answered a single column for a frame")
        return frame.sort("row").drop("row", "event_timestamp")

    def materialize_states(self, entity: str, rows: pl.DataFrame, *, as_of: int) -> None:
        """Put packed states online through Feast.

        Args:
            rows: The join key, `at` (microseconds) and `state` (bytes).
            as_of: Microseconds; no state is later.
        """
        view = state_view_name(entity)
        self.write_rows(view, rows)
        if rows.is_empty():
            return
        oldest = datetime.fromtimestamp(min(rows["at"].to_list()) / SECOND_US, UTC)
        newest = datetime.fromtimestamp(as_of / SECOND_US, UTC) + timedelta(seconds=1)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # Feast prints
            warnings.simplefilter("ignore")
            self._feast.materialize(
                start_date=oldest - timedelta(seconds=1),
                end_date=newest,
                feature_views=[view],
                disable_event_timestamp=False,
            )

    def online_states(self, entity: str, keys: Sequence[str]) -> list[bytes | None]:
        """States by Feast's own `get_online_features`, as a Feast user would read them."""
        join_key = _JOIN_KEYS[entity][0]
        answer = self._feast.get_online_features(
            features=[f"{state_view_name(entity)}:state"],
            entity_rows=[{join_key: key} for key in keys],
        )
        return [value or None for value in answer.to_dict()["state"]]

    def view_names(self) -> list[str]:
        """The feature views that the registry holds."""
        return sorted(view.name for view in self._feast.list_feature_views())


_JOIN_KEYS: Final = {"recipient": ["recipient_key"], "content": ["content_id"]}


def _schema(keys: Sequence[str], view: Any) -> dict[str, Any]:
    kinds = {"Bytes": pl.Binary, "Float32": pl.Float32, "Array(Float32)": pl.List(pl.Float32)}
    schema: dict[str, Any] = dict.fromkeys(keys, pl.String)
    schema |= {f.name: kinds[str(f.dtype)] for f in view.features}
    stamp = pl.Datetime("us", "UTC")
    return schema | {"event_timestamp": stamp, "created": stamp}


def _write(frame: pl.DataFrame, view: str, folder: Path) -> None:
    """Atomically: a reader sees the old rows or the new ones."""
    target = source_file(view, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    frame.write_parquet(scratch, compression="snappy")
    scratch.replace(target)
