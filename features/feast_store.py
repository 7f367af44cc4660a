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
from typing import Any

import features.feast_environment  # noqa: F401  before Feast

# isort: split
import polars as pl
from feast import FeatureStore
from feast.repo_config import load_repo_config

from features.events.durable import exclusive
from features.events.schema import SECOND_US
from features.feast_objects import (
    ENTITIES,
    STATE_FIELDS,
    make_missing_sources,
    objects,
    stamped,
    state_view_name,
    write_source,
)
from features.feast_place import REPO


class FeastStore:
    """Feast over one data directory: sources and registry in `folder`.

    The settings are those of `feast_repo/feature_store.yaml`, but for the two places.

    Args:
        online: The packed store's address: a path, or `redis://...`; it goes into no file.
    """

    def __init__(self, folder: Path, *, online: Path | str) -> None:
        self.folder = folder.absolute()
        self._online = str(online) if "://" in str(online) else str(Path(online).absolute())

    @cached_property
    def _feast(self) -> Any:
        config = load_repo_config(REPO, REPO / "feature_store.yaml")
        config.registry.path = str(self.folder / config.registry.path)
        config.online_store.address = self._online
        return FeatureStore(config=config)

    def apply(self) -> None:
        """Register every entity, view and service; sources without rows yet get empty files."""
        items = objects(self.folder)
        make_missing_sources(items, self.folder)
        with exclusive(self.folder / "apply.lock"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Feast's own deprecations are not ours to fix
            self._feast.apply(items)

    def write_rows(self, view: str, rows: pl.DataFrame) -> None:
        """Replace a view's training rows, or the states that `feast materialize` would load.

        Args:
            rows: The join keys, `at` (microseconds) and the view's features, or `state` (bytes).
        """
        named = rows.rename({"state": STATE_FIELDS[view]}) if view in STATE_FIELDS else rows
        write_source(stamped(named), view, self.folder)

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
        view, join_key = state_view_name(entity), ENTITIES[entity].join_key
        answer = self._feast.get_online_features(
            features=[f"{view}:{STATE_FIELDS[view]}"],
            entity_rows=[{join_key: key} for key in keys],
        )
        return [value or None for value in answer.to_dict()[STATE_FIELDS[view]]]

    def view_names(self) -> list[str]:
        """The feature views that the registry holds."""
        return sorted(view.name for view in self._feast.list_feature_views())
