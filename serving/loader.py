"""Follows the champions on disk and swaps them warm: the one that serves is always whole.

A pointer that is gone, a bundle that is damaged or of another spec, leave the last good model
in place, and say why. Bundles are tried in a process of their own, verified, loaded and asked once
before they serve. The one that served before stays at hand, so that a rollback is a matter of the
next look.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from models.bundle import digest_of, load_bundle
from models.errors import ModelError
from models.registry import ModelFolder
from models.specs import SPECS
from serving.asks import Champions, Loaded
from serving.trial import Tried

LOG: Final = logging.getLogger("opportune.loader")
LOOK_EVERY_S: Final = 0.25  # at the folder, so that a rollback or a switch is there in a second


class Tries(Protocol):
    """What knows of bundles that it is safe to load them; see `serving.trials`."""

    def together(self, bundles: Sequence[Tried]) -> None:
        """Find it out for several at once, where that can be."""

    def has_passed(self, folder: Path, name: str, digest: str) -> bool:
        """Whether it is; False where that is not known yet.

        Raises:
            ModelError: It is not.
        """

    def settle(self) -> None:
        """Wait until all is known that was asked."""


class Loader:
    """Holds the champions; `current` is one reference, read once per call.

    Args:
        follow: Brings in what a registry says; it may take seconds.
        refused: Told of each bundle that is not taken, with the reason.
        trials: Where new bundles are tried first; None to load them as they are.
        rehearse: Lets a set of models answer before it serves; raises why it cannot.
    """

    def __init__(
        self,
        folder: ModelFolder,
        *,
        follow: Callable[[], None] = lambda: None,
        refused: Callable[[str, str], None] = lambda _name, _why: None,
        trials: Tries | None = None,
        rehearse: Callable[[Champions], None] = lambda _champions: None,
    ) -> None:
        self._folder = folder
        self._follow = follow
        self._refused = refused
        self._trials = trials
        self._rehearse = rehearse
        self._known_bad: dict[str, str] = {}
        self._bad_shadows: dict[str, str] = {}
        self._at_hand: dict[str, list[Loaded]] = {}  # by model the last two, the newest last
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.current = Champions()
        self.shadows: Mapping[str, Loaded] = {}

    def look(self) -> bool:
        """Load what has changed in the folder; returns whether anything did."""
        self._take_champions()
        off = frozenset(spec.name for spec in SPECS if self._folder.is_off(spec.name))
        loaded = {name: at_hand[-1] for name, at_hand in self._at_hand.items() if name not in off}
        self.shadows = self._challengers()
        if loaded == self.current.by_name and off == self.current.off:
            return False
        self._announce(loaded, off)
        self.current = Champions(loaded, off)
        return True

    def _challengers(self) -> dict[str, Loaded]:
        found = {spec.name: self._challenger(spec.name) for spec in SPECS}
        return {name: one for name, one in found.items() if one is not None}

    def _challenger(self, name: str) -> Loaded | None:
        """What scores beside the champion; none where it cannot be loaded."""
        version, before = self._folder.shadow(name), self.shadows.get(name)
        if not version or self._bad_shadows.get(name) == version:
            return None
        if before is not None and before.version == version:
            return before
        try:
            model = self._read(name, version)
            if model is not None:
                self._warm_with({name: model})
        except ModelError as error:
            self._bad_shadows[name] = version
            LOG.error("%s %s is no shadow: %s", name, version, error)  # noqa: TRY400
            self._refused(name, str(error))
            return None
        return model

    def _take_champions(self) -> None:
        """Take what the folder names; what was there stays where that cannot be loaded."""
        new: dict[str, Loaded] = {}
        for name in (spec.name for spec in SPECS):
            wanted = self._wanted(name)
            if not wanted:
                continue
            at_hand = self._at_hand.get(name, [])
            served = next((one for one in at_hand if one.version == wanted), None)
            if served is not None:
                self._take(name, served)
                continue
            with self._refusing(name, wanted):
                model = self._read(name, wanted)
                if model is not None:
                    new[name] = model
        for name, model in self._rehearsed(new).items():
            self._take(name, model)

    def _wanted(self, name: str) -> str:
        """The version to take; empty for none, the one that serves, or one that was refused."""
        pointer = self._folder.champion(name)
        wanted = "" if pointer is None else pointer.version
        versions = [one.version for one in self._at_hand.get(name, [])]
        return "" if wanted in {self._known_bad.get(name), *versions[-1:]} else wanted

    def _new(self) -> Iterator[Tried]:
        """The bundles that are to be taken, but for those that are not there."""
        for name in (spec.name for spec in SPECS):
            with suppress(ModelError, OSError):
                if wanted := self._wanted(name):
                    yield self._bundle(name, wanted)

    def _take(self, name: str, model: Loaded) -> None:
        self._known_bad.pop(name, None)
        self._at_hand[name] = [*self._at_hand.get(name, [])[-1:], model]

    def _rehearsed(self, new: Mapping[str, Loaded]) -> Mapping[str, Loaded]:
        """Those that can answer: all of them at once, or each alone to find who cannot."""
        if len(new) > 1:
            with suppress(ModelError):
                self._warm_with(new)
                return new
        sound = {}
        for name, model in new.items():
            with self._refusing(name, model.version):
                self._warm_with({name: model})
                sound[name] = model
        return sound

    @contextmanager
    def _refusing(self, name: str, version: str) -> Iterator[None]:
        """What is wrong with a version is told once, and it is not tried again."""
        try:
            yield
        except ModelError as error:
            self._known_bad[name] = version
            LOG.error("%s %s is not taken: %s", name, version, error)  # noqa: TRY400
            self._refused(name, str(error))

    def _read(self, name: str, version: str) -> Loaded | None:
        """A bundle from disk; None while it is on trial."""
        one = self._bundle(name, version)
        if self._trials is not None and not self._trials.has_passed(*one):
            return None
        return Loaded(load_bundle(one.folder, name=name, digest=one.digest), version)

    def _bundle(self, name: str, version: str) -> Tried:
        folder = self._folder.folder(name, version)
        return Tried(folder, name, digest_of(folder))

    def _warm_with(self, new: Mapping[str, Loaded]) -> None:
        """Let new models answer, each in its place among those that serve."""
        self._warm(replace(self.current, by_name={**self.current.by_name, **new}))

    def _warm(self, champions: Champions) -> None:
        try:
            self._rehearse(champions)
        except ModelError:
            raise
        except Exception:  # a fault of the rehearsal must not keep a sound model from serving
            LOG.exception("the rehearsal failed; the models serve without one")

    def previous(self, name: str) -> str:
        """The version that was champion before the one that serves, `none` without one."""
        pointer = self._folder.champion(name)
        is_served = pointer is not None and pointer.version == self.current.version(name)
        return (pointer.previous if pointer and is_served else "") or "none"

    def start(self, *, every_s: float) -> None:
        """Follow and look now, and again and again in the background until `stop`.

        Args:
            every_s: Seconds between two times of following; the folder is looked at more often.
        """
        self._bring_in()
        if self._trials is not None:
            self._trials.together(list(self._new()))
        self._look_again()
        if self._trials is not None:
            self._trials.settle()
            self._look_again()
        if not self.current.by_name:
            self._warm(self.current)  # what answers without models is to be warm as well
        for name, work, wait_s in (
            ("opportune-follower", self._bring_in, every_s),
            ("opportune-loader", self._look_again, min(every_s, LOOK_EVERY_S)),
        ):
            thread = threading.Thread(target=self._run, args=(work, wait_s), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the background looks."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _run(self, work: Callable[[], None], every_s: float) -> None:
        while not self._stop.wait(every_s):
            work()

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

    def _announce(self, loaded: Mapping[str, Loaded], off: frozenset[str]) -> None:
        for name in off ^ self.current.off:
            LOG.warning("%s is switched %s", name, "off" if name in off else "on")
        for name, model in loaded.items():
            if self.current.version(name) != model.version:
                LOG.info("%s: %s -> %s", name, self.current.version(name), model.version)
