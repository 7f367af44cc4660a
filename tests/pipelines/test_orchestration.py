"""Dagster over the commands: it loads, a day is materialized, what is due is asked for."""

import json
import os
import subprocess
import sys
from importlib import reload
from pathlib import Path

import pytest

from features.events.log import EventLog
from models.mlflow_registry import MlflowRegistry
from models.registry import ModelFolder
from pipelines.runs import runs_in
from pipelines.settings import Settings

dg = pytest.importorskip("dagster")

DAY = "2025-11-07"  # the world's last whole one
EVENTS = """event_id,type,recipient_key,occurred_at
shop-1,purchased,w7-r000001,2025-11-07T10:00:00Z
shop-2,purchased,,2025-11-07T10:00:00Z
"""


@pytest.fixture
def world(small_world, tmp_path, monkeypatch):
    copied = small_world.copy(tmp_path / "var")
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(copied.data_dir))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    inbox = copied.data_dir / "inbox"
    inbox.mkdir()
    (inbox / f"{DAY}-shop.csv").write_text(EVENTS)
    return copied


@pytest.fixture
def orchestration(world):  # noqa: ARG001  its folder is named by the environment
    import pipelines.orchestration  # noqa: PLC0415  reads the log's first day

    return reload(pipelines.orchestration)


def materialized(orchestration, *names, day=DAY):
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            orchestration.ASSETS, selection=list(names), partition_key=day, instance=instance,
            raise_on_error=False,
        )  # fmt: skip
        told = {
            event.asset_key.to_user_string(): {
                name: value.value for name, value in event.materialization.metadata.items()
            }
            for event in done.get_asset_materialization_events()
        }
        checks = {each.check_name: each.passed for each in done.get_asset_check_evaluations()}
        return done.success, told, checks


@pytest.mark.usefixtures("world")
@pytest.mark.long
def test_its_own_program_finds_nothing_wrong(tmp_path):
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate"]
    done = subprocess.run(
        [*command, "-m", "pipelines.orchestration"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]


def test_a_day_is_imported_monitored_trained_and_judged(world, orchestration):
    assert orchestration.DAYS.get_first_partition_key() < "2025-05-01"
    chosen = ("events", "monitoring", "churn_candidate", "churn_champion")
    success, told, checks = materialized(orchestration, *chosen)
    assert success
    assert told["events"]["files"] == 1
    assert told["events"]["events_of_the_day"] > 100
    assert checks == {"no_alarm": json.loads(_monitored(world))["has_alarm"] is False}
    assert told["churn_champion"] == {"promoted": False, "why": "a person decides"}
    with EventLog(world.data_dir / "events") as log:
        ids = set(log.scan().select("event_id").collect()["event_id"])
    assert "shop-1" in ids
    assert "shop-2" not in ids  # it names nobody
    commands = [run.command for run in runs_in(world.data_dir / "runs")]
    assert commands[-1] == "ingest"
    assert sorted(commands) == ["ingest", "monitor", "retrain"]
    assert candidate(world).tags["as_of"].startswith("2025-11-08 00:00")


def test_what_the_settings_allow_is_promoted_when_the_gates_pass_it(
    world, orchestration, monkeypatch
):
    monkeypatch.setenv("OPPORTUNE_AUTO_PROMOTE", "true")
    before = ModelFolder(world.data_dir / "models").champion("churn").version
    success, told, _ = materialized(orchestration, "churn_champion")
    assert success
    assert told["churn_champion"] == {"promoted": False, "why": "a gate refused it"}
    assert ModelFolder(world.data_dir / "models").champion("churn").version == before


def test_a_command_that_cannot_fails_its_asset(orchestration):
    first = orchestration.DAYS.get_first_partition_key()
    success, told, _ = materialized(orchestration, "send_time_candidate", day=first)
    assert not success  # a log of one day has no label
    assert told == {}


def test_the_sensor_asks_for_the_models_that_are_due(world, orchestration):
    def asked():
        context = dg.build_sensor_context()
        return list(orchestration.what_is_due(context))

    assert isinstance(asked()[0], dg.SkipReason)
    dues = [{"model": m, "due": m == "churn", "reasons": []} for m in orchestration.MODELS]
    file = world.data_dir / "monitor" / "monitor.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"as_of": "2025-11-08 00:00 UTC", "retrain": dues}))
    (request,) = asked()
    assert request.run_key == "churn 2025-11-08"
    names = [key.to_user_string() for key in request.asset_selection]
    assert names == ["churn_candidate", "churn_champion"]
    file.write_text(json.dumps({"as_of": "2025-11-08 00:00 UTC", "retrain": []}))
    assert isinstance(asked()[0], dg.SkipReason)


def _monitored(world):
    return (world.data_dir / "monitor" / "monitor.json").read_text()


def candidate(world):
    settings = Settings(data_dir=world.data_dir, tracking_uri="")
    registry = MlflowRegistry(settings.mlflow_uri, artifacts=settings.artifacts_dir.as_uri())
    return next(v for v in registry.versions("churn") if "candidate" in v.aliases)
