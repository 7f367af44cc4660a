"""Follows MLflow's aliases `champion` and `shadow` over plain HTTP: two GETs, no MLflow client.

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
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from models.bundle import GOLDEN, GRAPH, MANIFEST, MAX_BYTES, REPORT
from models.errors import ModelError
from models.registry import ModelFolder, verified
from models.specs import SPECS

LOG: Final = logging.getLogger("opportune.follower")
TIMEOUT_S: Final = 2.0
_ALIAS: Final = "/api/2.0/mlflow/registered-models/alias"
_NOT_THERE: Final = {400, 404}


class Follower:
    """Brings the champions and shadows that an MLflow server names into the folder.

    A shadow that was begun here ends with its alias; one begun by hand stays.

    Args:
        verify: Raises what is wrong with a folder as a bundle of a name, before it is stored.
        note: Told in words what an alias changed here.
    """

    def __init__(
        self,
        url: str,
        folder: ModelFolder,
        *,
        verify: Callable[[Path, str], None] = verified,
        note: Callable[[str], None] = LOG.info,
    ) -> None:
        self._url = url
        self._folder = folder
        self._verify = verify
        self._refused: set[tuple[str, str]] = set()
        self._note = note
        self._champions: dict[str, str] = {}  # what the alias was at the look before
        self._shadows: dict[str, str] = {}  # those begun here
        self.is_reachable = True

    def __call__(self) -> None:
        """One look at every alias."""
        for spec in SPECS:
            try:
                self._follow(spec.name)
                self._follow_shadow(spec.name)
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                if self.is_reachable:
                    LOG.warning("MLflow at %s: %s; champions on disk go on", self._url, error)
                self.is_reachable = False
                return
        self.is_reachable = True

    def _follow(self, name: str) -> None:
        named = self._named(name, "champion")
        pointer = self._folder.champion(name)
        if named is None:  # what is on disk stays
            if self._champions.pop(name, "") and pointer is not None:
                self._note(f"{name} {pointer.version}: alias champion removed, it goes on serving")
            return
        self._champions[name] = named[0]
        is_new = pointer is None or pointer.version != named[0]
        if is_new and self._is_here(name, *named):
            self._folder.point(name, named[0])
            before = f" in place of {pointer.version}" if pointer else ""
            self._note(f"{name} {named[0]}: alias champion{before}")

    def _follow_shadow(self, name: str) -> None:
        named = self._named(name, "shadow")
        begun = self._shadows.get(name, "")
        if named is None:
            if begun and self._folder.shadow(name) == begun:
                self._folder.end_shadow(name)
                self._note(f"{name} {begun}: alias shadow removed")
            self._shadows.pop(name, None)
        elif named[0] != begun and self._is_here(name, *named):
            self._folder.begin_shadow(name, named[0])
            self._note(f"{name} {named[0]}: alias shadow")
            self._shadows[name] = named[0]

    def _named(self, name: str, alias: str) -> tuple[str, str] | None:
        """Version and run under an alias; None where there is no such model or alias."""
        query = urlencode({"name": name, "alias": alias})
        try:
            found = json.loads(self._get(f"{_ALIAS}?{query}"))["model_version"]
        except HTTPError as error:
            if error.code in _NOT_THERE:
                return None
            raise
        return str(int(found["version"])), str(found["run_id"])  # it names a folder

    def _is_here(self, name: str, version: str, run_id: str) -> bool:
        """Whether a version is in the folder, after a download if need be."""
        if (name, version) in self._refused:
            return False
        if not self._folder.has(name, version):
            try:
                self._download(name, version, run_id)
            except ModelError as error:
                self._refused.add((name, version))
                LOG.error("%s %s is not taken: %s", name, version, error)  # noqa: TRY400
                return False
        return True

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
