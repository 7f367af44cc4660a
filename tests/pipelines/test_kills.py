"""kill -9 in the middle of a retrain: run again, it ends with the bytes of an undisturbed run."""

import random
from pathlib import Path

import pytest

from models.mlflow_registry import MlflowRegistry
from pipelines.runs import DONE, KILLED, runs_in
from tests.pipelines.killed import Command, whole

ASKED = ("retrain", "churn", "--as-of", "2025-10-25")


def registry_in(data_dir: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{data_dir / 'mlflow.db'}")


def files_of(data_dir: Path, version, into: Path) -> dict[str, bytes]:
    into.mkdir()
    folder = registry_in(data_dir).fetch(version, into)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.long
def test_a_killed_retrain_run_again_gives_the_bytes_of_an_undisturbed_one(small_world, tmp_path):
    calm, killed = (small_world.copy(tmp_path / name).data_dir for name in ("calm", "killed"))
    whole(calm, *ASKED)
    rng = random.Random(5)
    for step, at_most_s in (("fitting trees", 0.3), ("registering in MLflow", 0.2)):
        command = Command(killed, *ASKED)
        assert command.until(step)
        assert command.kill(after_s=rng.uniform(0, at_most_s))
        aliases = {v.version: v.aliases for v in registry_in(killed).versions("churn")}
        assert aliases["1"] == ("champion",)
        assert sum("candidate" in given for given in aliases.values()) == 1

    whole(killed, *ASKED)
    assert [run.outcome for run in runs_in(killed / "runs")] == [DONE, KILLED, KILLED]
    versions = [registry_in(where).versions("churn") for where in (calm, killed)]
    newest = [next(v for v in known if "candidate" in v.aliases) for known in versions]
    found, expected = (
        files_of(where, version, tmp_path / f"bundle-{where.name}")
        for where, version in zip((killed, calm), newest[::-1], strict=True)
    )
    assert len(expected) > 2
    assert found == expected
