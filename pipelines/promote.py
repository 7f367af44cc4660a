"""Make a registered version the champion: alias in MLflow, bundle and pointer for serving."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from models.bundle import load_bundle
from models.errors import VersionUnknownError
from models.mlflow_registry import CHAMPION, PREVIOUS, MlflowRegistry, Version
from models.registry import ModelFolder


def promote(name: str, version: str, *, registry: MlflowRegistry, folder: ModelFolder) -> Version:
    """Promote a version; the bundle is verified before anything changes, `review` judges it.

    Args:
        version: A number, or an alias such as `candidate` or `previous`.

    Raises:
        VersionUnknownError: There is no such version or alias.
        ModelError: Its bundle is damaged or of another spec.
    """
    chosen = version_of(name, version, registry=registry)
    with TemporaryDirectory() as scratch:
        stored = folder.add(name, chosen.version, registry.fetch(chosen, Path(scratch)))
    load_bundle(stored, name=name)  # one that was here before may have been damaged since
    served = folder.champion(name)
    is_new = served is not None and served.version != chosen.version
    before = (served.version if is_new else served.previous) if served else ""
    registry.promote(name, chosen.version, before=before)
    folder.point(name, chosen.version)
    return chosen


def version_before(name: str, *, registry: MlflowRegistry, folder: ModelFolder) -> Version:
    """The version that was champion before this one.

    By the folder, which has seen what served, whoever set the alias; where it knows none that is
    registered, by the alias `previous`, which only `opportune` writes.

    Raises:
        VersionUnknownError: There was none, or it is registered no longer.
    """
    known = registry.versions(name)
    served = folder.champion(name)
    champion = next((v.version for v in known if CHAMPION in v.aliases), "")
    seen = ""
    if served is not None:  # a champion that the folder has not followed came after its own
        champion = champion or served.version
        seen = served.previous if served.version == champion else served.version
    found = [v for v in known if v.version == seen] + [v for v in known if PREVIOUS in v.aliases]
    before = next((v for v in found if v.version != champion), None)
    if before is None:
        raise _unknown(name, PREVIOUS, known)
    return before


def version_of(name: str, version: str, *, registry: MlflowRegistry) -> Version:
    """A registered version by its number or an alias.

    Raises:
        VersionUnknownError: There is no such version or alias.
    """
    known = registry.versions(name)
    chosen = next((v for v in known if version in (v.version, *v.aliases)), None)
    if chosen is None:
        raise _unknown(name, version, known)
    return chosen


def _unknown(name: str, version: str, known: Sequence[Version]) -> VersionUnknownError:
    shown = [f"{v.version} ({', '.join(v.aliases)})" if v.aliases else v.version for v in known]
    return VersionUnknownError(name, version, shown)
