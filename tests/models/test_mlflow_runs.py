"""No run in MLflow goes on for ever: it ends with the work, or with the next of its name."""

import pytest

from models.errors import RegistryUnavailableError
from models.mlflow_registry import MONITORING, MlflowRegistry

WEEK = "as of Simon's week"


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


@pytest.fixture
def registry(tmp_path, place):
    return MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=place.as_uri())


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "monitor.html").write_text("all quiet")
    return folder


def outcomes(registry):
    client = registry._client
    experiment = client.get_experiment_by_name(MONITORING).experiment_id
    return sorted(run.info.status for run in client.search_runs([experiment]))


def test_a_run_that_breaks_off_has_failed(registry, place, report):
    place.rmdir()
    place.write_text("no folder")
    with pytest.raises(RegistryUnavailableError, match="artifacts"):
        registry.log_monitoring(WEEK, {"psi": 0.1}, report, {})
    assert outcomes(registry) == ["FAILED"]


def test_a_run_that_was_killed_is_told_so_by_the_next_of_its_name(registry, report):
    registry.log_monitoring("as of another week", {}, report, {})
    client = registry._client
    experiment = client.get_experiment_by_name(MONITORING).experiment_id
    for name in (WEEK, "as of another week"):
        client.create_run(experiment, run_name=name)  # and nobody to end it
    registry.log_monitoring(WEEK, {}, report, {})
    assert outcomes(registry) == ["FINISHED", "FINISHED", "KILLED", "RUNNING"]
