"""Which order a training was given, so that the same one is not carried out twice.

An order is the same when everything that decides its bundle is: the events as known at its
moment, every one of their columns; the code and its libraries; the seed and the options; the
champion that the candidate is measured beside. What was learnt since the moment, or lies in
another folder, is not part of it. The digest is a tag of the MLflow version.
"""

import platform
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from models.bundle import load_bundle, report_of
from models.errors import (
    BundleCorruptError,
    BundleMismatchError,
    ParityError,
    RegistryUnavailableError,
)
from models.mlflow_registry import CHAMPION, MlflowRegistry
from models.report import read_report
from pipelines.log_digest import digest_of
from pipelines.retrain import Candidate, retrain
from training.export import LIBRARIES
from training.recipe import Order

ORDER_TAG: Final = "order"
_CODE: Final = ("features", "models", "training", "pipelines")
_UNUSABLE: Final = (
    BundleCorruptError,
    BundleMismatchError,
    ParityError,
    RegistryUnavailableError,
)
_MORE: Final = ("opportune", "polars", "numba", "scipy", "feast")


def retrain_once(  # noqa: PLR0913  a step is a function of all it depends on
    name: str,
    *,
    order: Order,
    events: str,
    registry: MlflowRegistry,
    intercept_only: bool,
    is_again: bool,
    say: Callable[[str], None],
) -> Candidate:
    """`retrain`, or what the same order gave before.

    Args:
        events: The `events_digest` of the order's events.
        is_again: Train in any case.
        say: Told when there is nothing to do.

    Raises:
        TrainingError: As `retrain`.
    """
    digest = order_digest(
        name, order=order, events=events, registry=registry, intercept_only=intercept_only
    )
    found = None if is_again else made_before(name, digest, registry=registry)
    if found is None:
        tags = {ORDER_TAG: digest}
        return retrain(
            name, order=order, registry=registry, intercept_only=intercept_only, more_tags=tags
        )
    said = f"{name}: version {found.version.version} was made of the same order already"
    say(f"{said}; nothing to do (--again trains all the same)")
    return found


def order_digest(
    name: str, *, order: Order, events: str, registry: MlflowRegistry, intercept_only: bool
) -> str:
    """Of all that decides the bundle which an order gives.

    Args:
        events: Their `events_digest`.
    """
    known = registry.versions(name)
    champions = [[v.version, v.run_id] for v in known if CHAMPION in v.aliases]
    options = [
        order.seed,
        order.horizon_days,
        order.search.seconds,
        order.search.trials,
        intercept_only,
    ]
    return digest_of([name, order.as_of, order.first, events, options, champions, code_digest()])


def made_before(name: str, digest: str, *, registry: MlflowRegistry) -> Candidate | None:
    """The version that such an order gave, whole and `candidate` again; None where there is none.

    A training may have been killed between registering a version and giving it the alias.
    """
    for found in registry.versions(name):
        if found.tags.get(ORDER_TAG) != digest:
            continue
        with TemporaryDirectory() as scratch:
            try:
                bundle = load_bundle(registry.fetch(found, Path(scratch)), name=name)
            except _UNUSABLE:
                continue
            report = read_report(report_of(bundle.folder))
        return Candidate(registry.propose(found), report)
    return None


@cache
def code_digest() -> str:
    """Of our own source files and the versions of what they compute with."""
    root = Path(__file__).parents[1]
    files = sorted(file for package in _CODE for file in (root / package).rglob("*.py"))
    told = [[str(f.relative_to(root)), sha256(f.read_bytes()).hexdigest()] for f in files]
    libraries = {each: version(each) for each in (*LIBRARIES, *_MORE)}
    return digest_of([told, libraries, platform.python_version(), platform.machine()])
