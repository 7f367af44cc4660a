"""The one door to MLflow: runs, versions, aliases.

Every training is a run with its parameters, flat metrics, pictures and bundle; every bundle
is a registered version whose page opens with the verdict and the model card. MLflow's client
retries for minutes when its server is away, so nothing near a request ever comes here.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # noqa: TID251  before the import
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")  # noqa: TID251
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # noqa: TID251
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # noqa: TID251

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from models.bundle import GRAPH, sha256_of
from models.card import card_of
from models.errors import RegistryUnavailableError, VersionUnknownError
from models.mlflow_file import make_database
from models.report import Report
from models.spec import ModelSpec

EXPERIMENT: Final = "opportune"
MONITORING: Final = "opportune-monitoring"
CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
BUNDLE_PATH: Final = "bundle"
PICTURES_PATH: Final = "plots"


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of a model."""

    name: str
    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    verdict: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a training hands to the registry besides its bundle."""

    report: Report
    parameters: Mapping[str, Any]
    pictures: Mapping[str, bytes]
    tags: Mapping[str, str]


class MlflowRegistry:
    """Runs and versions behind one tracking URI (a database or a server)."""

    def __init__(self, tracking_uri: str, *, artifacts: str | None = None) -> None:
        self.tracking_uri = tracking_uri
        self._artifacts = artifacts
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_database(tracking_uri, MlflowClient)
            self._client = MlflowClient(tracking_uri=tracking_uri)

    def add(self, spec: ModelSpec, bundle: Path, entry: Entry) -> Version:
        """Log a run and register its bundle; the new version gets the alias `candidate`.

        Raises:
            RegistryUnavailableError: MLflow refuses or cannot be reached.
        """
        try:
            return self._add(spec, bundle, entry)
        except (MlflowException, OSError) as error:
            raise RegistryUnavailableError(self.tracking_uri, str(error)) from error

    def promote(self, name: str, version: str, *, before: str = "") -> Version:
        """Move `champion` to a version; the one before becomes `previous`.

        Args:
            before: What served before, where that is known; else the champion so far is taken.

        Raises:
            VersionUnknownError: There is no such version.
        """
        known = self.versions(name)
        chosen = next((v for v in known if v.version == version), None)
        if chosen is None:
            raise VersionUnknownError(name, version, [v.version for v in known])
        so_far = next((v.version for v in known if CHAMPION in v.aliases), "")
        previous = before if any(v.version == before for v in known) else so_far
        try:
            if previous not in {"", version}:
                self._client.set_registered_model_alias(name, PREVIOUS, previous)
            self._client.set_registered_model_alias(name, CHAMPION, version)
        except MlflowException as error:
            raise RegistryUnavailableError(self.tracking_uri, str(error)) from error
        return chosen

    def propose(self, version: Version) -> Version:
        """Give the alias `candidate` to a version; safe to repeat."""
        if CANDIDATE in version.aliases:
            return version
        try:
            self._client.set_registered_model_alias(version.name, CANDIDATE, version.version)
        except MlflowException as error:
            raise RegistryUnavailableError(self.tracking_uri, str(error)) from error
        return replace(version, aliases=tuple(sorted((*version.aliases, CANDIDATE))))

    def versions(self, name: str) -> list[Version]:
        """Every version of a model, newest first; empty for an unknown name."""
        try:
            found = self._client.search_model_versions(f"name = '{name}'")
            aliases = self._aliases(name) if found else {}
        except MlflowException as error:
            raise RegistryUnavailableError(self.tracking_uri, str(error)) from error
        listed = [
            Version(
                name,
                str(item.version),
                item.run_id or "",
                tuple(sorted(alias for alias, v in aliases.items() if v == str(item.version))),
                dict(item.tags),
                (item.description or "").split("\n", 1)[0],
                int(item.creation_timestamp),
            )
            for item in found
        ]
        return sorted(listed, key=lambda version: -int(version.version))

    def fetch(self, version: Version, into: Path) -> Path:
        """Copy a version's bundle into a folder."""
        try:
            path = self._client.download_artifacts(version.run_id, BUNDLE_PATH, str(into))
        except (MlflowException, OSError) as error:
            raise RegistryUnavailableError(self.tracking_uri, str(error)) from error
        return Path(path)

    def log_monitoring(
        self, name: str, metrics: Mapping[str, float], folder: Path, tags: Mapping[str, str]
    ) -> str:
        """Log one monitoring as a run of its own experiment, with the files of a folder.

        Returns:
            The run's id.

        Raises:
            RegistryUnavailableError: MLflow refuses or cannot be reached.
        """
        try:
            with self._run(MONITORING, name, tags) as run_id:
                now = int(self._client.get_run(run_id).info.start_time)
                logged = [Metric(key, number, now, 0) for key, number in metrics.items()]
                self._client.log_batch(run_id, metrics=logged)
                self._client.log_artifacts(run_id, str(folder))
        except (MlflowException, OSError) as error:
            raise RegistryUnavailableError(self.tracking_uri, str(error)) from error
        return run_id

    def _aliases(self, name: str) -> dict[str, str]:
        model = self._client.get_registered_model(name)
        return {alias: str(version) for alias, version in dict(model.aliases).items()}

    def _add(self, spec: ModelSpec, bundle: Path, entry: Entry) -> Version:
        named = f"{spec.name} as of {entry.report.as_of}"
        tags = {"model": spec.name, "mlflow.note.content": card_of(entry.report)}
        with self._run(EXPERIMENT, named, tags | dict(entry.tags)) as run_id:
            for key, value in entry.parameters.items():
                self._client.log_param(run_id, key, value)
            for key, number in entry.report.metrics().items():
                self._client.log_metric(run_id, key, number)
            with TemporaryDirectory() as scratch:
                folder = Path(scratch)
                for name, picture in entry.pictures.items():
                    (folder / name).write_bytes(picture)
                (folder / "report.md").write_text(card_of(entry.report))
                self._client.log_artifacts(run_id, str(folder), PICTURES_PATH)
            self._client.log_artifacts(run_id, str(bundle), BUNDLE_PATH)
        return self._register(spec, bundle, entry, run_id)

    @contextmanager
    def _run(self, experiment: str, named: str, tags: Mapping[str, str]) -> Iterator[str]:
        """A run that ends with the block; one of that name that was killed before is told so."""
        number = self._experiment(experiment)
        for run in self._client.search_runs([number], "attributes.status = 'RUNNING'"):
            if run.info.run_name == named:
                self._client.set_terminated(run.info.run_id, "KILLED")
        run_id = str(self._client.create_run(number, run_name=named, tags=dict(tags)).info.run_id)
        try:
            yield run_id
        except BaseException:
            with suppress(MlflowException):
                self._client.set_terminated(run_id, "FAILED")
            raise
        self._client.set_terminated(run_id)

    def _register(self, spec: ModelSpec, bundle: Path, entry: Entry, run_id: str) -> Version:
        try:
            self._client.create_registered_model(spec.name, description=spec.meaning)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = dict(entry.tags) | {"onnx_sha256": sha256_of(bundle / GRAPH)}
        made = self._client.create_model_version(
            spec.name,
            source=f"runs:/{run_id}/{BUNDLE_PATH}",
            run_id=run_id,
            tags=tags,
            description=_description(entry, run_id),
        )
        version = str(made.version)
        self._client.set_registered_model_alias(spec.name, CANDIDATE, version)
        return next(v for v in self.versions(spec.name) if v.version == version)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=self._artifacts))


def _description(entry: Entry, run_id: str) -> str:
    """Verdict in the first line (all that the list shows), then the card with its pictures."""
    pictures = [
        f"![{name}](/get-artifact?path={PICTURES_PATH}/{name}&run_uuid={run_id})"
        for name in entry.pictures
    ]
    return "\n".join([card_of(entry.report), *pictures])
