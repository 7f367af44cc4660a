"""Follows MLflow's `champion` aliases over plain HTTP: two GETs, no MLflow client.

MLflow's own client retries for minutes when its server is away. Here a look takes two seconds
at the most and changes nothing when it fails: what is on disk goes on serving.
"""

import json
import logging
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from models.bundle import GOLDEN, GRAPH, MANIFEST, MAX_BYTES, REPORT
from models.errors import ModelError
from models.registry import ModelFolder, verified
from models.specs import SPECS

LOG: Final = logging.getLogger("opportune.follower")
TIMEOUT_S: Final = 2.0
_ALIAS: Final = "/api/2.0/mlflow/registered-models/alias"


class Follower:
    """Brings the champions that an MLflow server names into the folder.

    Args:
        verify: Raises what is wrong with a folder as a bundle of a name, before it is stored.
    """

    def __init__(
        self, url: str, folder: ModelFolder, *, verify: Callable[[Path, str], None] = verified
    ) -> None:
        self._url = url
        self._folder = folder
        self._verify = verify
        self._refused: set[tuple[str, str]] = set()
        self.is_reachable = True

    def __call__(self) -> None:
        """One look at every alias."""
        for spec in SPECS:
            try:
                self._follow(spec.name)
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                if isinstance(error, URLError) and getattr(error, "code", 0) in {400, 404}:
                    continue  # no such model or alias: what is on disk stays
                if self.is_reachable:
                    LOG.warning("MLflow at %s: %s; champions on disk go on", self._url, error)
                self.is_reachable = False
                return
        self.is_reachable = True

    def _follow(self, name: str) -> None:
        query = urlencode({"name": name, "alias": "champion"})
        found = json.loads(self._get(f"{_ALIAS}?{query}"))["model_version"]
        version, run_id = str(int(found["version"])), str(found["run_id"])  # it names a folder
        pointer = self._folder.champion(name)
        if (pointer is not None and pointer.version == version) or (name, version) in self._refused:
            return
        if not self._folder.has(name, version):
            try:
                self._download(name, version, run_id)
            except ModelError as error:
                self._refused.add((name, version))
                LOG.error("%s %s is not taken: %s", name, version, error)  # noqa: TRY400
                return
        self._folder.point(name, version)

    def _download(self, name: str, version: str, run_id: str) -> None:
        with TemporaryDirectory() as scratch:
            bundle = Path(scratch) / version
            bundle.mkdir()
            for file in (MANIFEST, GRAPH, GOLDEN, REPORT):
                query = urlencode({"path": f"bundle/{file}", "run_uuid": run_id})
                (bundle / file).write_bytes(self._get(f"/get-artifact?{query}"))
            self._folder.add(name, version, bundle, verify=self._verify)

    def _get(self, path: str) -> Any:
        # The scheme was checked when the settings were read.
        with urlopen(self._url + path, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return answer.read(MAX_BYTES)
