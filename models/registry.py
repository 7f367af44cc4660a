"""Versions and champions on disk, as serving reads them.

    <models_dir>/<name>/<version>/          a bundle, never changed once there
    <models_dir>/<name>/champion.json       {"version": "3", "previous": "2"}
    <models_dir>/<name>/shadow              the version that scores beside the champion, if one does
    <models_dir>/<name>/off                 why the model is switched off; there only while it is

The pointer is replaced by a rename, so a reader sees the old champion or the new one. With
MLflow in the picture the folder is the local cache that survives its absence; without it, the
folder is the registry that `opportune promote` writes.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.bundle import load_bundle
from models.errors import BundleCorruptError, VersionUnknownError
from models.specs import SPECS

POINTER: Final = "champion.json"
OFF: Final = "off"
SHADOW: Final = "shadow"
_VERSION: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


def verified(bundle: Path, name: str) -> None:
    """Load a bundle and forget it; raises what is wrong with it."""
    load_bundle(bundle, name=name)


@dataclass(frozen=True, slots=True)
class Champion:
    """Which version serves, and which one did before."""

    version: str
    previous: str = ""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """Bundles and pointers under one directory."""

    root: Path

    def champion(self, name: str) -> Champion | None:
        """The pointer of a model; None when there is none or it cannot be read."""
        try:
            found = json.loads((self.root / name / POINTER).read_bytes())
            version, previous = str(found["version"]), str(found.get("previous", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Champion(version, previous) if _VERSION.fullmatch(version) else None

    def folder(self, name: str, version: str) -> Path:
        """Where a version's bundle lies or would lie."""
        return self.root / name / version

    def has(self, name: str, version: str) -> bool:
        """Whether a version's bundle is here."""
        return _VERSION.fullmatch(version) is not None and self.folder(name, version).is_dir()

    def add(
        self,
        name: str,
        version: str,
        bundle: Path,
        *,
        verify: Callable[[Path, str], None] = verified,
    ) -> Path:
        """Copy a bundle in, verified, all or nothing; a version that is here stays as it is.

        Args:
            verify: Raises what is wrong with a folder as a bundle of that name.

        Raises:
            VersionUnknownError: The version cannot be the name of a folder.
        """
        if _VERSION.fullmatch(version) is None:
            raise VersionUnknownError(name, version, self._versions(name))
        target = self.folder(name, version)
        if target.is_dir():
            return target
        verify(bundle, name)
        scratch = target.with_name(f".{version}.{os.getpid()}.tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(bundle, scratch)
        try:
            scratch.rename(target)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            if not target.is_dir():
                raise BundleCorruptError(target, f"cannot be stored ({error})") from error
        return target

    def point(self, name: str, version: str) -> Champion:
        """Make a version that is here the champion.

        Raises:
            VersionUnknownError: Its bundle is not here.
        """
        if not self.has(name, version):
            raise VersionUnknownError(name, version, self._versions(name))
        before = self.champion(name)
        if before is not None and before.version == version:
            return before
        champion = Champion(version, before.version if before else "")
        file = self.root / name / POINTER
        scratch = file.with_name(f".{POINTER}.{os.getpid()}.tmp")
        scratch.write_text(json.dumps({"version": version, "previous": champion.previous}))
        scratch.replace(file)
        return champion

    def switch_off(self, name: str, why: str) -> None:
        """Let a model no longer answer, whatever its champion; safe to repeat."""
        self._put(name, OFF, why)

    def switch_on(self, name: str) -> None:
        """Let its champion answer again; safe to repeat."""
        (self.root / name / OFF).unlink(missing_ok=True)

    def switched(self) -> dict[str, str | None]:
        """By model why it is off, None for those that answer."""
        files = {spec.name: self.root / spec.name / OFF for spec in SPECS}
        return {name: f.read_text() if f.exists() else None for name, f in files.items()}

    def shadow(self, name: str) -> str:
        """The version that scores beside the champion; "" where none does."""
        try:
            version = (self.root / name / SHADOW).read_text()
        except (OSError, ValueError):
            return ""
        return version if _VERSION.fullmatch(version) else ""

    def begin_shadow(self, name: str, version: str) -> None:
        """Let a version that is here score beside the champion; safe to repeat.

        Raises:
            VersionUnknownError: Its bundle is not here.
        """
        if not self.has(name, version):
            raise VersionUnknownError(name, version, self._versions(name))
        self._put(name, SHADOW, version)

    def end_shadow(self, name: str) -> None:
        """Let none score beside the champion; safe to repeat."""
        (self.root / name / SHADOW).unlink(missing_ok=True)

    def is_off(self, name: str) -> bool:
        """Whether a model is switched off."""
        return (self.root / name / OFF).exists()

    def _put(self, name: str, what: str, text: str) -> None:
        file = self.root / name / what
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{what}.{os.getpid()}.tmp")
        scratch.write_text(text)
        scratch.replace(file)

    def _versions(self, name: str) -> list[str]:
        return sorted(p.name for p in (self.root / name).glob("[!.]*") if p.is_dir())
