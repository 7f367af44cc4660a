"""`opportune monitor` over a real world: what it says, writes, logs and exits with."""

import json
import re
from pathlib import Path

import numpy as np
import orjson
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from features.decisions import VERSION
from features.events.log import EventLog
from features.events.schema import DAY_US, HOUR_US, SECOND_US
from models.bundle import load_bundle, report_of
from models.mlflow_registry import MONITORING
from pipelines.cli import app
from pipelines.runs import DONE, runs_in
from serving.policy import Policy

AS_OF = ("--as-of", "2025-11-08")
NOW = 20_400 * DAY_US
ANSWERS = "monitor.json"


@pytest.fixture
def shell(monkeypatch):
    def over(data_dir):
        monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(data_dir))
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.delenv("OPPORTUNE_TRACKING_URI", raising=False)

        def run(*words):
            return CliRunner().invoke(app, [str(word) for word in words])

        return run

    return over


def told(folder):
    plain = json.loads((folder / ANSWERS).read_text())
    return plain, {(s["name"], s["subject"]): s for s in plain["signals"]}


def write_decisions(world):
    """What a service would have decided on the world's own mails of the last two months."""
    rng = np.random.default_rng(1)
    with EventLog(world.data_dir / "events") as log:
        mails = log.scan().collect()
    import polars as pl  # noqa: PLC0415

    sent = mails.filter(pl.col("type") == "sent", pl.col("occurred_at") > world.now - 60 * DAY_US)
    people = sorted(set(sent["recipient_key"]))
    held = dict(zip(people, rng.random(len(people)) < 0.05, strict=True))
    lines = []
    for key, send, item, at in sent.select(
        "recipient_key", "send_id", "content_id", "occurred_at"
    ).iter_rows():
        explored = bool(rng.random() < 0.05 * 0.75)
        p = 1.0 if held[key] else 0.05 / 4 if explored else 0.95 + 0.05 / 4
        lines.append({
            "version": VERSION, "decision_id": f"{send}-{key}", "recipient_key": key,
            "send_id": send, "slot": "", "at": at - 1, "best_at": at // SECOND_US,
            "arm": "holdout" if held[key] else "personal", "propensity_hour": p,
            "propensity": p, "candidates": [item, "b", "c", "d"], "variant": item,
            "fallback": "none", "is_test": False, "hold": "none",
            "policy": Policy(0.05, 0.05, 0.05).name,
        })  # fmt: skip
    dry = lines[-1] | {"decision_id": "dry", "policy": Policy().name, "propensity": 0.001}
    lines.insert(0, dry)  # nothing is judged by a dry run
    folder = world.data_dir / "decisions"
    folder.mkdir(exist_ok=True)
    (folder / "one.ndjson").write_bytes(b"".join(orjson.dumps(x) + b"\n" for x in lines))
    return len(lines) - 1


def test_nothing_at_all_is_no_alarm_and_says_why(shell, tmp_path):
    done = shell(tmp_path / "bare")("monitor", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    plain, signals = told(tmp_path / "out")
    assert {s["judgement"] for s in signals.values()} == {"not judged"}
    assert all(s["said"] for s in signals.values())
    assert [each["due"] for each in plain["retrain"]] == [True] * 3
    assert "<img" not in (tmp_path / "out/monitor.html").read_text()


def test_a_quiet_world_is_fine_on_the_page_in_the_numbers_and_in_mlflow(
    shell, small_world, tmp_path
):
    world = small_world.copy(tmp_path / "var")
    n = write_decisions(world)
    opportune = shell(world.data_dir)
    page = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    judge, again = (
        line.split()[1:] for line in re.findall(r"```sh\n(opportune .*)\n```", page)
    )  # what the page says to type, at a moment of this world
    done = opportune(*judge, *AS_OF)
    assert done.exit_code == 0, done.output
    plain, signals = told(world.data_dir / "monitor")
    assert plain["has_alarm"] is False
    assert plain["decisions"]["decided"] == n
    assert plain["decisions"]["under_another_policy"] == 1
    assert plain["decisions"]["immature"] > 0
    assert plain["decisions"]["delivered"] > 0.9 * plain["decisions"]["joined"]
    for name, subject in (
        ("drift", "churn"), ("drift", "send_time"), ("drift", "content_preference"),
        ("taste", "content_preference"), ("rhythm", "send_time"),
        ("sample-ratio mismatch", "delivered"), ("propensity floor", "item"),
        ("exploration drawn", "item"), ("label health", "opens by machines"),
        ("freshness", "newest event"),
    ):  # fmt: skip
        assert signals[name, subject]["judgement"] == "fine", (name, subject)
    assert "no label later" in signals["calibration", "churn"]["said"]
    assert "propensity floor" in done.output

    page = (world.data_dir / "monitor/monitor.html").read_text()
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("data:image/png;base64,") >= 6
    assert world.people[0] not in page  # nobody is named

    client = MlflowClient(f"sqlite:///{world.data_dir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(MONITORING)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["verdict"] == "fine"
    assert run.data.metrics["alarms"] == 0
    assert run.data.metrics["label_health.opens_by_machines"] == pytest.approx(
        signals["label health", "opens by machines"]["value"]
    )
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"monitor.html", "monitor.json"}

    trained = opportune(*again, *AS_OF)  # nothing is due, so nothing is trained
    assert trained.exit_code == 0, trained.output
    assert "No model is due." in trained.output


def test_a_champion_made_later_than_the_moment_is_not_judged(shell, small_world, tmp_path):
    opportune = shell(small_world.copy(tmp_path / "var").data_dir)
    done = opportune("monitor", "--as-of", "2025-07-01", "--out", tmp_path / "out")
    plain, signals = told(tmp_path / "out")
    of_champions = [s for s in signals.values() if s["name"] in {"drift", "calibration", "rhythm"}]
    assert len(of_champions) == 7
    assert {s["judgement"] for s in of_champions} == {"not judged"}
    assert all("made later (2025-11-08" in s["said"] for s in of_champions)
    assert not any(each["due"] for each in plain["retrain"])
    assert done.exit_code == 0, done.output


def test_a_file_in_the_place_of_the_page_is_refused_before_anything_is_judged(shell, tmp_path):
    (tmp_path / "out").write_text("mine")
    for folder in (tmp_path / "out", tmp_path / "out/deeper"):
        done = shell(tmp_path / "bare")("monitor", "--out", folder)
        assert done.exit_code == 2, done.output
        assert "is no folder and cannot be made one" in " ".join(done.stderr.split())
    assert (tmp_path / "out").read_text() == "mine"
    steps = [step.name for run in runs_in(tmp_path / "bare/runs") for step in run.steps]
    assert steps == ["starting Feast and MLflow"] * 2


def test_an_incident_exits_with_one(shell, tmp_path):
    folder = tmp_path / "bare/decisions"
    folder.mkdir(parents=True)
    line = {
        "version": VERSION, "decision_id": "d", "recipient_key": "a", "send_id": "s",
        "at": NOW - HOUR_US, "best_at": NOW // SECOND_US, "arm": "personal",
        "propensity_hour": 1.0, "propensity": 0.0, "candidates": ["a", "b"], "is_test": False,
        "policy": Policy(0.05, 0.05, 0.05).name, "fallback": "none",
    }  # fmt: skip
    (folder / "one.ndjson").write_bytes(orjson.dumps(line) + b"\n")
    done = shell(tmp_path / "bare")("monitor", *AS_OF, "--out", tmp_path / "out")
    assert done.exit_code == 1, done.output
    (run,) = runs_in(tmp_path / "bare/runs")
    assert (run.outcome, run.exit_code) == (DONE, 1)
    plain, signals = told(tmp_path / "out")
    assert [key for key, s in signals.items() if s["judgement"] == "alarm"] == [
        ("propensity floor", "item")
    ]
    assert plain["has_alarm"] is True


def test_a_champion_that_is_old_enough_is_due(shell, small_world, tmp_path, monkeypatch):
    world = small_world.copy(tmp_path / "var")
    monkeypatch.setenv("OPPORTUNE_RETRAIN_DAYS", "3")
    opportune = shell(world.data_dir)
    asked = ("--if-due", "--as-of", "2025-11-12")
    done = opportune("retrain", "churn", *asked, "--horizon-days", "900")
    assert "time: the champion is 4 days old" in " ".join(done.output.split())
    assert done.exit_code == 2  # so it is trained, if the log were long enough
    assert "shorter horizon" in done.stderr
    done = opportune("retrain", "churn", "--intercept-only", *asked[1:])
    assert done.exit_code == 0, done.output
    assert "champion, intercept fitted anew" in done.output
    assert "opportune promote churn candidate" in done.output


def test_a_champion_that_has_learnt_from_somebody_erased_since_is_due(shell, small_world, tmp_path):
    world = small_world.copy(tmp_path / "var")
    opportune = shell(world.data_dir)

    def erasures():
        assert opportune("monitor", "--out", tmp_path / "out").exit_code in {0, 1}
        plain, _ = told(tmp_path / "out")
        reasons = {each["model"]: each["reasons"] for each in plain["retrain"]}
        return [each["why"] for each in reasons["churn"] if each["trigger"] == "erasure"]

    assert erasures() == []
    assert opportune("erase", world.people[0]).exit_code == 0
    assert erasures()[0].startswith("it has learnt from 1 erased since; by ")


def test_a_retrain_tells_how_the_champion_did_and_keeps_a_reference(small_world):
    found = load_bundle(small_world.data_dir / "models/churn/1")
    assert "champion's last window" not in report_of(found.folder)["facts"]  # there was none
    reference = found.manifest.reference
    assert set(found.manifest.inputs) | {"score"} == set(reference.histograms)
    assert reference.histograms["score"].n > 100
