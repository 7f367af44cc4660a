"""Measure registered versions on labels that have matured since their training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from models.bundle import load_bundle
from models.mlflow_registry import CANDIDATE, CHAMPION, MlflowRegistry, Version
from models.verdict import Verdict
from pipelines.promote import version_of
from pipelines.review import review
from training.monitoring.champions import backtest_fact
from training.recipe import Order


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What is known of one version.

    Args:
        since: How its chances of the newest mature rows did that it has not learnt from, or why
            that cannot be said yet.
        verdict: Of the gates, from what its training measured; None for the champion itself.
    """

    version: Version
    since: str
    verdict: Verdict | None


def evaluate(version: Version, *, order: Order, registry: MlflowRegistry) -> Evaluated:
    """Measure one version as of the order's moment; nothing is trained, changed or promoted.

    Raises:
        ModelError: Its bundle is damaged or of another spec.
        RegistryUnavailableError: MLflow refuses.
    """
    with TemporaryDirectory() as scratch:
        bundle = load_bundle(registry.fetch(version, Path(scratch)), name=version.name)
        since = backtest_fact(bundle, order.data, as_of=order.as_of)
    return Evaluated(version, since, review(version, registry=registry))


def versions_asked(name: str, version: str, *, registry: MlflowRegistry) -> Sequence[Version]:
    """A version by number or alias; without one the champion and the candidate of the moment.

    Raises:
        VersionUnknownError: There is no such version.
    """
    if version:
        return [version_of(name, version, registry=registry)]
    known = registry.versions(name)
    return [one for one in known if {CHAMPION, CANDIDATE} & set(one.aliases)]
