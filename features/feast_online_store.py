"""A Feast online store over the packed one: `feast materialize` and `get_online_features` on it.

Only state views live online: one blob per key. Feast hands over the blob with its event time;
how much of the log it has seen stands in the blob itself, and a newer row is never replaced.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel

from features.events.schema import SECOND_US
from features.feast_objects import ENTITIES, state_view_name
from features.packed import PackedStore, Row
from features.state import seen_by

_ENTITY_OF = {state_view_name(entity): entity for entity in ENTITIES}


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """The `online_store` block of feature_store.yaml."""

    type: Literal["features.feast_online_store.PackedOnlineStore"] = (
        "features.feast_online_store.PackedOnlineStore"
    )
    path: str = "online.sqlite"


class PackedOnlineStore(OnlineStore):
    """Feast's reads and writes of state views, over `PackedStore`."""

    _store: PackedStore | None = None

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write states; a stored one that has seen more of the log stays."""
        rows: list[Row] = []
        for key, values, event_at, _ in data:
            blob = values["state"].bytes_val
            rows.append((_key_of(key), seen_by(blob), _micros(event_at), blob))
        self._open(config).put(_ENTITY_OF[table.name], rows)
        if progress is not None:
            progress(len(rows))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """The states of the keys with their own times; (None, None) for unknown ones."""
        del requested_features  # a state view has one field
        store = self._open(config)
        keys = [_key_of(key) for key in entity_keys]
        answers: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for found in store.get_with_times(_ENTITY_OF[table.name], keys):
            if found is None:
                answers.append((None, None))
            else:
                at, blob = found
                moment = datetime.fromtimestamp(at / SECOND_US, UTC)
                answers.append((moment, {"state": Value(bytes_val=blob)}))
        return answers

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,  # noqa: FBT001
    ) -> None:
        """Nothing to prepare: one table serves every view, and blobs carry their layout."""

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Forget every state."""
        del tables, entities  # one table serves every view
        self._open(config).clear()

    def _open(self, config: RepoConfig) -> PackedStore:
        if self._store is None:
            self._store = PackedStore(Path(config.online_store.path))
        return self._store


def _key_of(key: EntityKey) -> str:
    return str(key.entity_values[0].string_val)


def _micros(moment: datetime) -> int:
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(aware.timestamp() * SECOND_US)
