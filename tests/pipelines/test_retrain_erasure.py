"""A training that meets an erasure: one line and code 2, and no trace of the erased is left."""

import pytest
from typer.testing import CliRunner

from features.events.forget import forget, suppress
from features.events.log import EventLog
from features.events.rewritten import rewriting_named
from features.events.schema import DAY_US, Event, EventType
from models.mlflow_registry import MlflowRegistry
from pipelines import log_digest
from pipelines.cli import app
from pipelines.runs import runs_in
from pipelines.settings import Settings
from tests.conftest import NOW


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.delenv("OPPORTUNE_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    settings = Settings()
    with EventLog(settings.events_dir) as log:
        log.append(
            [
                Event(f"e{n}", EventType.CLICKED, f"r{n % 9}", NOW - n * DAY_US, NOW)
                for n in range(90)
            ]
        )
    return settings


def test_a_retrain_that_meets_an_erasure_says_so_and_leaves_nothing_of_the_erased(
    settings, monkeypatch
):
    left = settings.feast_dir / "recipient.parquet"

    def digest_after_an_erasure(events, digest=log_digest.events_digest):
        suppress(settings.events_dir, ["r3"], until=NOW)
        forget(settings.events_dir, ["r3"])
        left.write_bytes(b"r3")  # as a training writes what it joins, also after the erasure
        return digest(events)

    monkeypatch.setattr(log_digest, "events_digest", digest_after_an_erasure)
    told = CliRunner().invoke(app, ["retrain", "churn"])
    errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert (told.exit_code, len(errors)) == (2, 1), told.output
    assert "rewritten meanwhile, by an erasure" in errors[0]
    assert "run the same once more" in errors[0]
    assert ".parquet" not in errors[0]
    assert not left.exists()
    (run,) = runs_in(settings.data_dir / "runs")
    assert "rewritten meanwhile" in run.error


def test_a_file_that_is_no_part_of_a_log_is_missing_as_ever(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.parquet"), rewriting_named():
        (tmp_path / "parquet" / "none.parquet").read_bytes()


def test_a_version_trained_after_an_erasure_is_not_marked_and_one_of_before_is(
    small_world, tmp_path, monkeypatch
):
    data_dir = small_world.copy(tmp_path / "world").data_dir
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(data_dir))
    monkeypatch.delenv("OPPORTUNE_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "240")

    def opportune(*words):
        told = CliRunner().invoke(app, list(words))
        assert told.exit_code == 0, told.output
        return told.stdout

    opportune("retrain", "churn", "--again")
    with EventLog(data_dir / "events") as log:
        key = log.read(limit=1)[0][1].recipient_key
    opportune("erase", key)
    opportune("retrain", "churn", "--again")  # as of the newest event: before the erasure
    versions = MlflowRegistry(f"sqlite:///{data_dir / 'mlflow.db'}").versions("churn")
    assert [version.tags["n_erasures"] for version in versions[:2]] == ["1", "0"]
    lines = [line for line in opportune("models").splitlines() if " churn " in line]
    assert ["1 erased" in line for line in lines[:2]] == [False, True]
