"""`opportune switch`: off, on, and who can see why."""

import pytest
from typer.testing import CliRunner

from models.registry import ModelFolder
from pipelines.cli import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, ["switch", *words])


def test_a_model_is_off_until_it_is_on_and_the_list_says_why(run, tmp_path):
    folder = ModelFolder(tmp_path / "models")
    assert run("off", "churn", "--why", "scores everybody 0.9").exit_code == 0
    assert folder.is_off("churn")
    listed = run("list").stdout
    assert "scores everybody 0.9" in listed
    assert listed.count("yes") == 2
    told = run("on", "churn")
    assert (told.exit_code, folder.is_off("churn")) == (0, False)
    assert "no champion yet" in told.stdout
    assert run("on", "churn").exit_code == 0


def test_a_model_that_nobody_knows_is_refused(run, tmp_path):
    told = run("off", "chrun")
    assert told.exit_code == 2
    assert "churn" in told.output
    assert not (tmp_path / "models").exists()
