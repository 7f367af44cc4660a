"""Follows the champions on disk and swaps them warm: the one that serves is always whole.

A pointer that is gone, a bundle that is damaged or of another spec, leave the last good model
in place, and say why. Bundles are verified, loaded and asked once before they serve.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

from models.bundle import load_bundle
from models.errors import ModelError
from models.registry import ModelFolder
from models.specs import SPECS
from serving.asks import Champions, Loaded

LOG: Final = logging.getLogger("opportune.loader")


class Loader:
    """Holds the champions; `current` is one reference, read once per call.

    Args:
        follow: Called before each look at the folder; brings in what a registry says.
        refused: Told of each bundle that is not taken, with the reason.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        follow: Callable[[], None] = lambda: None,
        refused: Callable[[str, str], None] = lambda _name, _why: None,
    ) -> None:
        self._folder = folder
        self._follow = follow
        self._refused = refused
        self._known_bad: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.current = Champions()

    def look(self) -> bool:
        """Load what has changed; returns whether a champion was swapped."""
        self._bring_in()
        loaded: dict[str, Loaded] = dict(self.current.by_name)
        for spec in SPECS:
            pointer = self._folder.champion(spec.name)
            if pointer is None or self.current.version(spec.name) == pointer.version:
                continue
            if self._known_bad.get(spec.name) == pointer.version:
                continue
            try:
                bundle = load_bundle(
                    self._folder.folder(spec.name, pointer.version), name=spec.name
                )
            except ModelError as error:
                self._refuse(spec.name, pointer.version, str(error))
                continue
            self._known_bad.pop(spec.name, None)
            loaded[spec.name] = Loaded(bundle, pointer.version)
        if loaded == self.current.by_name:
            return False
        self._announce(loaded)
        self.current = Champions(loaded)
        return True

    def previous(self, name: str) -> str:
        """The version that was champion before the one that serves, `none` without one."""
        pointer = self._folder.champion(name)
        is_served = pointer is not None and pointer.version == self.current.version(name)
        return (pointer.previous if pointer and is_served else "") or "none"

    def start(self, *, every_s: float) -> None:
        """Look now and then again and again in the background until `stop`."""
        self._look_again()
        self._thread = threading.Thread(
            target=self._run, args=(every_s,), name="opportune-loader", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the background looks."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            self._look_again()

    def _look_again(self) -> None:
        try:
            self.look()
        except Exception:  # the service must outlive every surprise
            LOG.exception("looking for champions failed; the loaded ones go on serving")

    def _bring_in(self) -> None:
        try:
            self._follow()
        except Exception:  # whatever a registry says, what is on disk can be loaded
            LOG.exception("following the registry failed; looking at the folder alone")

    def _refuse(self, name: str, version: str, why: str) -> None:
        self._known_bad[name] = version
        LOG.error("%s %s is not taken: %s", name, version, why)
        self._refused(name, why)

    def _announce(self, loaded: Mapping[str, Loaded]) -> None:
        for name, model in loaded.items():
            if self.current.version(name) != model.version:
                LOG.info("%s: %s -> %s", name, self.current.version(name), model.version)
