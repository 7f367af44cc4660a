"""The commands around models: same order, same bundle; nothing later; one red line and exit 2."""

import json
import re
import subprocess
import sys

import onnx
import polars as pl
import pytest
from typer.testing import CliRunner

from features.audit import AuditLog
from features.events.log import EventLog
from features.events.schema import DAY_US, Event, EventType
from models.bundle import GRAPH, sha256_of
from models.mlflow_registry import MlflowRegistry
from models.registry import POINTER, ModelFolder
from models.specs import BY_NAME
from pipelines.cli import app
from pipelines.runs import FAILED, runs_in
from pipelines.settings import Settings

COMMANDS = (
    "ingest", "materialize", "retrain", "evaluate", "promote", "rollback", "models", "serve",
    "ui", "simulate", "demo",
)  # fmt: skip


class Shell:
    """`opportune` over one data directory."""

    def __init__(self, data_dir):
        self.data_dir = data_dir
        self.folder = ModelFolder(data_dir / "models")

    def __call__(self, *words):
        return CliRunner().invoke(app, [str(word) for word in words])

    @property
    def registry(self):
        return MlflowRegistry(f"sqlite:///{self.data_dir / 'mlflow.db'}")

    def newest(self, name):
        return self.registry.versions(name)[0]


@pytest.fixture
def shell_over(monkeypatch):
    def over(data_dir):
        monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(data_dir))
        monkeypatch.setenv("OPPORTUNE_SEED", "7")
        monkeypatch.setenv("COLUMNS", "160")
        for name in ("OPPORTUNE_TRACKING_URI", "OPPORTUNE_KEY_SECRET"):
            monkeypatch.delenv(name, raising=False)
        return Shell(data_dir)

    return over


@pytest.fixture
def shell(shell_over, small_world, tmp_path):
    return shell_over(small_world.copy(tmp_path / "var").data_dir)


@pytest.fixture
def bare(shell_over, tmp_path):
    return shell_over(tmp_path / "bare")


def is_one_red_line(outcome, *says):
    assert outcome.exit_code == 2, outcome.output
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, outcome.stderr
    for text in says:
        assert text in lines[0]
    assert "Traceback" not in outcome.output


def graph_of(shell, version):
    """A registered graph but for its name."""
    into = shell.data_dir / f"fetched-{version.version}"
    into.mkdir()
    model = onnx.load(shell.registry.fetch(version, into) / GRAPH)
    model.graph.name = ""
    return model


def test_the_help_lists_every_command_and_waits_for_no_library():
    script = (
        "import sys; from pipelines.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('feast', 'mlflow', 'lightgbm', 'sklearn', 'pandas', 'numba')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "LOADED []" in found.stdout
    for command in COMMANDS:
        assert re.search(rf"^\W*{command} ", found.stdout, re.MULTILINE), command


def test_the_module_is_the_command():
    told = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "--help"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "materialize" in told.stdout


def test_a_log_that_has_been_silent_gives_no_send_time_and_says_why(shell):
    """Old mails tell how an hour matters, and none is new enough to tell how people differ."""
    done = shell("retrain", "send_time", "--as-of", "2025-12-28")
    assert done.exit_code == 2, done.output
    assert "send_time: 0 mails of the 28 days before `as_of`, at least 1" in done.stderr
    run = runs_in(shell.data_dir / "runs")[0]
    assert (run.outcome, run.exit_code) == (FAILED, 2)
    assert "28 days" in run.error


@pytest.mark.long
def test_a_search_bounded_by_trials_gives_the_same_bundle_byte_by_byte(shell, tmp_path):
    asked = ("--as-of", "2025-10-25", "--search-trials", "3")
    folders = []
    for _ in range(2):
        assert shell("retrain", "churn", *asked, "--again").exit_code == 0
        version = shell.newest("churn")
        (into := tmp_path / version.version).mkdir()
        folders.append(shell.registry.fetch(version, into))
    files = [{f.name: f.read_bytes() for f in folder.iterdir()} for folder in folders]
    assert len(files[0]) > 2
    assert files[0] == files[1]
    assert b"3 settings tried" in b"".join(files[0].values())


def test_the_same_moment_and_seed_give_the_same_bundle_whatever_comes_later(
    shell, small_world, monkeypatch
):
    as_of = ("--as-of", "2025-10-25")
    assert shell("retrain", "churn", *as_of).exit_code == 0
    first = shell.newest("churn")
    outcome = shell("retrain", "churn", *as_of)
    assert "version 3 was made of the same order already" in outcome.stdout
    assert "opportune promote churn candidate" in outcome.stdout
    assert shell.newest("churn") == first
    with EventLog(shell.data_dir / "events") as log:
        key = small_world.people[0]
        # Learnt later: what happened since, and what had happened before anything else.
        for name, at in (
            ("new", small_world.now - DAY_US),
            ("old", small_world.now - 900 * DAY_US),
        ):
            log.append([
                Event(f"{name}-{n}", EventType.CLICKED, key, at + n, small_world.now)
                for n in range(50)
            ])  # fmt: skip
    as_of = (*as_of, "--again")
    assert shell("retrain", "churn", *as_of).exit_code == 0
    later = shell.newest("churn")
    assert [first.version, later.version] == ["3", "4"]
    for tag in ("fingerprint", "as_of"):
        assert first.tags[tag] == later.tags[tag], tag
    weights = graph_of(shell, first)
    assert weights == graph_of(shell, later)
    monkeypatch.setenv("OPPORTUNE_SEED", "8")
    assert shell("retrain", "churn", *as_of).exit_code == 0
    assert graph_of(shell, shell.newest("churn")) != weights
    assert "candidate" in shell.newest("churn").aliases
    assert shell.folder.champion("churn").version == "1"  # training promotes nothing


def test_too_little_data_is_one_red_line_with_a_remedy(shell):
    is_one_red_line(shell("retrain", "churn", "--as-of", "2025-04-25"), "churn", "ingest")
    is_one_red_line(shell("retrain", "churn", "--horizon-days", "900"), "shorter horizon")
    assert shell.newest("churn").version == "2"


def test_nothing_known_at_that_moment_says_so(shell):
    is_one_red_line(shell("retrain", "churn", "--as-of", "2001-01-01"), "2001-01-01")


def test_an_empty_log_says_what_to_do_first(bare):
    is_one_red_line(bare("retrain"), "opportune ingest")
    outcome = bare("materialize")
    assert outcome.exit_code == 0
    assert bare("models").exit_code == 0
    is_one_red_line(bare("promote", "churn"), "opportune retrain")
    is_one_red_line(bare("rollback", "churn"), "opportune retrain")


def test_an_unknown_model_is_named_with_those_there_are(shell):
    for words in (("retrain", "chrun"), ("promote", "chrun"), ("rollback", "ch'run")):
        outcome = shell(*words)
        assert outcome.exit_code == 2
        assert "send_time, churn, content_preference" in " ".join(outcome.stderr.split())
        assert words[1] in outcome.stderr
        assert "Traceback" not in outcome.output


def test_an_unknown_version_is_refused_with_those_there_are(shell):
    is_one_red_line(
        shell("promote", "churn", "99"), "no version 99", "2 (candidate)", "1 (champion)"
    )
    assert shell.folder.champion("churn").version == "1"


def test_a_version_is_measured_by_what_it_has_not_seen_and_nothing_changes(shell):
    """Trained on half of the log it is measured by the other half; at its own moment by nothing."""
    assert shell("retrain", "churn", "--as-of", "2025-09-01").exit_code == 0
    before = shell.registry.versions("churn")
    early = shell("evaluate", "churn", "candidate", "--as-of", "2025-09-01")
    assert early.exit_code == 0, early.output
    assert "no label later than its training" in " ".join(early.stdout.split())
    late = shell("evaluate")
    assert late.exit_code == 0, late.output
    told = " ".join(late.stdout.split())
    assert re.search(r"observed \d+\.\d+%, expected .* log loss", told)
    candidates = [
        f"{v.name} {v.version}, route"
        for name in BY_NAME
        for v in shell.registry.versions(name)
        if v.aliases == ("candidate",)
    ]
    assert f"churn {before[0].version}, route" in candidates
    assert told.count(", route ") == len(candidates)  # no gates for champions
    assert all(title in told for title in candidates)
    assert shell.registry.versions("churn") == before
    run = runs_in(shell.data_dir / "runs")[0]
    assert (run.command, run.exit_code) == ("evaluate", 0)
    is_one_red_line(shell("evaluate", "churn", "99"), "churn has no version 99")


def test_without_any_version_there_is_nothing_to_evaluate(bare):
    is_one_red_line(bare("evaluate"), "opportune retrain")


def test_promote_and_rollback_move_alias_pointer_and_bundle_together(shell):
    assert shell("promote", "churn", "2", "--force").exit_code == 0
    aliases = {v.version: v.aliases for v in shell.registry.versions("churn")}
    assert aliases == {"2": ("candidate", "champion"), "1": ("previous",)}
    champion = shell.folder.champion("churn")
    assert (champion.version, champion.previous) == ("2", "1")
    graph = shell.folder.folder("churn", "2") / GRAPH
    assert sha256_of(graph) == shell.newest("churn").tags["onnx_sha256"]
    assert shell("rollback", "churn").exit_code == 0
    assert shell.folder.champion("churn").version == "1"
    assert shell("rollback", "churn").exit_code == 0  # and back again
    assert shell.folder.champion("churn").version == "2"
    assert shell("promote", "churn").exit_code == 0  # the candidate is the champion already
    told = [line["action"] for line in AuditLog(Settings().audit_dir).lines()]
    assert AuditLog(Settings().audit_dir).verify().line == 0
    assert told == ["promoted", "rolled_back", "rolled_back", "promoted"]
    assert shell.folder.champion("churn").version == "2"
    aliases = {v.version: v.aliases for v in shell.registry.versions("churn")}
    assert aliases["1"] == ("previous",)


def registered_again(shell, name):
    """A third version of the same run."""
    first = shell.registry.versions(name)[-1]
    source = f"runs:/{first.run_id}/bundle"
    made = shell.registry._client.create_model_version(name, source=source, run_id=first.run_id)
    shell.folder.add(name, str(made.version), shell.folder.folder(name, "1"))
    return str(made.version)


def set_by_a_person(shell, version, *, is_followed=True):
    """The alias in MLflow's screen, and what a service does that follows it."""
    shell.registry._client.set_registered_model_alias("churn", "champion", version)
    if is_followed:
        shell.folder.point("churn", version)


def champions(shell):
    """By MLflow champion and the one before, and the same by the folder."""
    by_alias = {alias: v.version for v in shell.registry.versions("churn") for alias in v.aliases}
    served = shell.folder.champion("churn")
    in_mlflow = by_alias.get("champion"), by_alias.get("previous")
    return in_mlflow, (served.version, served.previous)


def test_a_rollback_goes_to_what_served_before_whoever_set_the_alias(shell):
    third = registered_again(shell, "churn")
    assert shell("promote", "churn", "2", "--force").exit_code == 0
    set_by_a_person(shell, third)
    for now, before in (("2", third), (third, "2"), ("2", third)):  # back, and back again
        assert shell("rollback", "churn").exit_code == 0
        assert champions(shell) == ((now, before), (now, before))
    set_by_a_person(shell, "1")
    assert shell("promote", "churn", third, "--force").exit_code == 0
    assert champions(shell) == ((third, "1"), (third, "1"))
    assert shell.folder.champion("send_time").version == "1"  # another model is left alone


def test_a_champion_that_no_service_has_followed_yet_came_after_the_folders_own(shell):
    third = registered_again(shell, "churn")
    assert shell("promote", "churn", "2", "--force").exit_code == 0
    set_by_a_person(shell, third, is_followed=False)
    assert shell("rollback", "churn").exit_code == 0
    assert champions(shell) == (("2", "1"), ("2", "1"))


def test_a_rollback_needs_no_alias_previous_of_ours_and_no_champion(shell):
    shell.folder.add("churn", "2", shell.folder.folder("churn", "1"))
    for version in ("2", "1"):
        set_by_a_person(shell, version)
    assert shell("rollback", "churn").exit_code == 0
    assert champions(shell) == (("2", "1"), ("2", "1"))
    client = shell.registry._client
    client.delete_registered_model_alias("churn", "previous")
    client.delete_registered_model_alias("churn", "champion")  # 2 goes on serving
    assert shell("promote", "churn", "1", "--force").exit_code == 0
    assert champions(shell) == (("1", "2"), ("1", "2"))
    client.delete_registered_model_alias("churn", "champion")
    assert shell("rollback", "churn").exit_code == 0
    assert champions(shell) == (("2", "1"), ("2", "1"))


def test_what_the_folder_does_not_know_the_alias_previous_tells(shell):
    third = registered_again(shell, "churn")
    for version in ("2", third):
        assert shell("promote", "churn", version, "--force").exit_code == 0
    pointer = shell.folder.root / "churn" / POINTER
    pointer.unlink()  # no service has run here yet
    assert shell("rollback", "churn").exit_code == 0
    assert champions(shell) == (("2", third), ("2", ""))
    pointer.write_text(json.dumps({"version": "2", "previous": "99"}))  # of another registry
    assert shell("rollback", "churn").exit_code == 0
    assert champions(shell)[0] == (third, "2")
    shell.registry._client.delete_model_version("churn", "2")
    is_one_red_line(shell("rollback", "churn"), "no version previous", f"{third} (")
    assert champions(shell)[0][0] == third


def test_a_rollback_without_a_champion_before_is_refused(shell):
    is_one_red_line(shell("rollback", "churn"), "no version previous")
    assert shell.folder.champion("churn").version == "1"


def test_a_damaged_bundle_is_not_promoted(shell):
    source = shell.registry.fetch(shell.newest("churn"), shell.data_dir)
    broken = shell.folder.folder("churn", "2")
    source.rename(broken)
    (broken / GRAPH).write_bytes(b"not a graph")
    outcome = shell("promote", "churn", "2", "--force")
    assert outcome.exit_code == 2, outcome.output
    assert shell.folder.champion("churn").version == "1"


def test_the_table_of_models_names_versions_verdicts_and_what_serves(shell):
    outcome = shell("models")
    assert outcome.exit_code == 0
    rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in outcome.stdout.splitlines()
    ]
    rows = [row for row in rows if len(row) == 7 and row[1].isdigit()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("send_time", "2", ""), ("send_time", "1", "yes"), ("churn", "2", ""),
        ("churn", "1", "yes"), ("content_preference", "1", "yes"),
    ]  # fmt: skip
    assert all(row[5] for row in rows)
    assert "candidate" in rows[0][2]
    assert "champion" in rows[1][2]


def test_a_simulated_world_is_ready_to_be_ingested(bare, tmp_path):
    file = tmp_path / "deep" / "world.ndjson"
    assert bare("simulate", file, "--recipients", 20, "--weeks", 2, "--seed", 3).exit_code == 0
    again = tmp_path / "again.ndjson"
    assert bare("simulate", again, "--recipients", 20, "--weeks", 2, "--seed", 3).exit_code == 0
    assert again.read_bytes() == file.read_bytes()
    assert bare("ingest", file).exit_code == 0
    with EventLog(bare.data_dir / "events") as log:
        assert log.head() == file.read_text().count("\n")
        assert log.scan().select(pl.col("recipient_key").n_unique()).collect().item() <= 20
