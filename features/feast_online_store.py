"""A Feast online store over the packed one: `feast materialize` and `get_online_features` on it.

Only state views live online: one blob per key. How much of the log a blob has seen and when its
newest event occurred stand in the blob itself: that time is the event time a Feast user reads,
and a row that has seen more is never replaced. The store enforces the time to live, which Feast's
own online stores do not.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel

from features.events.schema import SECOND_US
from features.feast_objects import ENTITIES, POOL_VIEW, STATE_FIELDS, state_view_name
from features.feast_place import FeastPlace
from features.layout import POOL
from features.online import OnlineStore as PackedStates
from features.online import open_store
from features.packed_rows import Row, head_of

_ENTITY_OF: Final = {state_view_name(entity): entity for entity in ENTITIES} | {
    POOL_VIEW: "content"  # under the key that no item has
}


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """The `online_store` block of feature_store.yaml."""

    type: Literal["features.feast_online_store.PackedOnlineStore"] = (
        "features.feast_online_store.PackedOnlineStore"
    )
    address: str = ""  # a file or redis://...; when empty the one of OPPORTUNE_ONLINE_STORE


class PackedOnlineStore(OnlineStore):
    """Feast's reads and writes of state views, over SQLite or Redis."""

    _store: PackedStates | None = None

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write states; a stored one that has seen more of the log stays."""
        rows: list[Row] = []
        for key, values, _, _ in data:
            blob = values[STATE_FIELDS[table.name]].bytes_val
            rows.append((_key_of(table, key), *head_of(blob), blob))
        self._open(config).put(_entity_of(table), rows)
        if progress is not None:
            progress(len(rows))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """The states of the keys with the times of their newest events.

        (None, None) where there is none or it has outlived the view's time to live.
        """
        del requested_features  # a state view has one field
        store = self._open(config)
        keys = [_key_of(table, key) for key in entity_keys]
        answers: list[tuple[datetime | None, dict[str, Value] | None]] = []
        now = round(datetime.now(UTC).timestamp() * SECOND_US)  # Feast's reads have no `as_of`
        for found in store.get_with_times(_entity_of(table), keys, now=now):
            if found is None:
                answers.append((None, None))
            else:
                newest, blob = found
                moment = datetime.fromtimestamp(newest / SECOND_US, UTC)
                answers.append((moment, {STATE_FIELDS[table.name]: Value(bytes_val=blob)}))
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

    def _open(self, config: RepoConfig) -> PackedStates:
        if self._store is None:
            self._store = open_store(config.online_store.address or FeastPlace().online_address)
        return self._store


def _entity_of(table: FeatureView) -> str:
    if table.name not in _ENTITY_OF:
        raise ValueError(
            f"view {table.name!r} is not online: its rows are for training; ask `recipient_now`, "
            "`content_now` or `affinity_now` for the same features at any moment"
        )
    return _ENTITY_OF[table.name]


def _key_of(table: FeatureView, key: EntityKey) -> str:
    return POOL if table.name == POOL_VIEW else str(key.entity_values[0].string_val)
