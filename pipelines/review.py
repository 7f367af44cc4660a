"""Judge a registered version, beside the champion that it would take the place of."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from models.bundle import Bundle, load_bundle, report_of
from models.errors import BundleCorruptError, BundleMismatchError, ParityError
from models.gates import judge
from models.mlflow_registry import CHAMPION, MlflowRegistry, Version
from models.report import read_report
from models.speed import speed_of
from models.verdict import Route, Verdict
from training.recipe import Sitting


def review(
    version: Version, *, registry: MlflowRegistry, route: Route | None = None
) -> Verdict | None:
    """What the gates say; None for the champion itself.

    A champion that answers another question (another label or horizon) or that this version of
    opportune cannot load is no measure: the candidate is then held against its baselines.

    Args:
        route: By default `refresh` where there is a champion to measure it by, else `new-spec`.

    Raises:
        ModelError: The candidate's bundle is damaged or of another spec.
    """
    if CHAMPION in version.aliases:
        return None
    tries = _tries(version, registry)
    with TemporaryDirectory() as scratch:
        bundle = load_bundle(registry.fetch(version, _new(scratch, "own")), name=version.name)
        report = read_report(report_of(bundle.folder))
        sitting = sitting_champion(version.name, registry=registry, into=_new(scratch, "champion"))
        if sitting is None or not _same_question(sitting.bundle, bundle):
            speed = speed_of(bundle)
            return judge(report, None, route or Route.NEW_SPEC, tries=tries, speed=speed)
        if report.champion is None or report.champion.method != sitting.method:
            report = replace(report, champion=None)  # it stood beside another one
        champion = read_report(report_of(sitting.bundle.folder))
        speed = speed_of(bundle, sitting.bundle)
        return judge(report, champion, route or Route.REFRESH, tries=tries, speed=speed)


def sitting_champion(name: str, *, registry: MlflowRegistry, into: Path) -> Sitting | None:
    """The champion of a model, loaded; None where there is none that can be.

    Args:
        into: An empty folder that outlives it.
    """
    known = registry.versions(name)
    found = next((version for version in known if CHAMPION in version.aliases), None)
    if found is None:
        return None
    try:
        return Sitting(found.version, load_bundle(registry.fetch(found, into), name=name))
    except (BundleCorruptError, BundleMismatchError, ParityError):
        return None


def _tries(version: Version, registry: MlflowRegistry) -> int:
    """Which of the day's candidates it is: they were all trained for nearly the same test."""
    day, number = _day_of(version), int(version.version)
    return 1 + sum(
        CHAMPION not in other.aliases and _day_of(other) == day and int(other.version) < number
        for other in registry.versions(version.name)
    )


def _day_of(version: Version) -> str:
    return version.tags.get("as_of", "")[: len("2026-01-01")]


def _same_question(one: Bundle, other: Bundle) -> bool:
    return one.manifest.label == other.manifest.label


def _new(scratch: str, name: str) -> Path:
    folder = Path(scratch) / name
    folder.mkdir()
    return folder
