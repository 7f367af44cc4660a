"""Make a registered version the champion: alias in MLflow, bundle and pointer for serving."""

from pathlib import Path
from tempfile import TemporaryDirectory

from models.bundle import load_bundle
from models.errors import VersionUnknownError
from models.mlflow_registry import MlflowRegistry, Version
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
    registry.promote(name, chosen.version)
    folder.point(name, chosen.version)
    return chosen


def version_of(name: str, version: str, *, registry: MlflowRegistry) -> Version:
    """A registered version by its number or an alias.

    Raises:
        VersionUnknownError: There is no such version or alias.
    """
    known = registry.versions(name)
    chosen = next((v for v in known if version in (v.version, *v.aliases)), None)
    if chosen is None:
        shown = [f"{v.version} ({', '.join(v.aliases)})" if v.aliases else v.version for v in known]
        raise VersionUnknownError(name, version, shown)
    return chosen
