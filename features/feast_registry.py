"""Feast's registry as a file that is swapped whole: a reader sees the old one or the new one.

Feast's own file store empties the file and writes it anew; who reads in between gets a registry
that is short or empty, without an error.

Failure mode: of two `feast apply` of *different* definitions at once the later one's stand, whole.
"""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import features.feast_environment  # noqa: F401  before Feast

# isort: split
from feast.infra.registry.file import FileRegistryStore

from features.events.durable import fsync_directory
from features.feast_place import FeastPlace


class SwappedRegistryStore(FileRegistryStore):
    """The `registry_store_type` of feature_store.yaml; a relative path lies in the data directory.

    Raises:
        OSError: The file cannot be written; the old registry stands.
    """

    def __init__(self, registry_config: Any, repo_path: Path | None) -> None:
        super().__init__(registry_config, repo_path or Path())
        if not Path(registry_config.path).is_absolute():
            self._filepath = FeastPlace().folder / registry_config.path

    def _write_registry(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        folder = self._filepath.parent
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{self._filepath.name}.{registry_proto.version_id}"
        try:
            with scratch.open("wb") as file:
                file.write(registry_proto.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self._filepath)
        finally:
            scratch.unlink(missing_ok=True)
        fsync_directory(folder)
