"""Runs on record: steps kept as they begin, killed ones known by their lock, old ones removed."""

import errno
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import typer
from typer.testing import CliRunner

from features.errors import StoreUnavailableError
from pipelines.cli import app, main
from pipelines.console import EXPECTED
from pipelines.run_folders import KEEP_DAYS, KEEP_RUNS, tidy
from pipelines.runs import (
    DONE,
    FAILED,
    INTERRUPTED,
    KILLED,
    RUNNING,
    newly_killed,
    recorded,
    runs_in,
)

DAY_NS = 86_400_000_000_000
BEGAN_NS = 20_400 * DAY_NS
CHILD = """
import sys
from pathlib import Path
from pipelines.runs import recorded
with recorded(Path(sys.argv[1]), "retrain", parameters={}, expected=()) as run:
    run.step("one")
    run.step("two")
    print("two", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def record(tmp_path):
    def begun(command="retrain", *, clock=lambda: BEGAN_NS, **told):
        asked = {"parameters": {}, "expected": EXPECTED, "clock": clock} | told
        return recorded(tmp_path / "runs", command, **asked)

    return begun


@pytest.fixture
def runs_dir(tmp_path):
    return tmp_path / "runs"


def test_every_step_is_on_disk_when_it_begins_with_the_seconds_of_the_one_before(record, runs_dir):
    with record(as_of=BEGAN_NS // 1_000, parameters={"models": ["churn"], "seed": 7}) as run:
        for n, name in enumerate(("reading", "fitting", "registering"), start=1):
            run.step(name)
            (kept,) = runs_in(runs_dir)
            assert [step.name for step in kept.steps][-1] == name
            assert [step.seconds is None for step in kept.steps] == [False] * (n - 1) + [True]
            assert (kept.outcome, kept.seconds) == (RUNNING, None)
        run.tell(churn="3")
    (kept,) = runs_in(runs_dir)
    assert (kept.outcome, kept.exit_code, kept.facts) == (DONE, 0, {"churn": "3"})
    assert kept.as_of == kept.began_at == "2025-11-08T00:00:00.000+00:00"
    assert kept.parameters == {"models": ["churn"], "seed": 7}
    assert sum(step.seconds for step in kept.steps) <= kept.seconds + 0.002
    lines = (runs_dir / kept.id / "run.log").read_text().splitlines()
    assert [line.rsplit(": ", 1)[-1] for line in lines[:3]] == ["reading", "fitting", "registering"]
    assert len(lines) == 4
    assert all(kept.id in line for line in lines)


@pytest.mark.parametrize(
    ("raised", "outcome", "code", "error"),
    [
        (
            StoreUnavailableError("redis://me:secret@host/0", "is\naway", "start it"),
            FAILED, 2, "redis://...@host/0: is away; start it",
        ),
        (ValueError("a row of data"), FAILED, 2, "ValueError"),
        (KeyboardInterrupt(), INTERRUPTED, None, ""),
        (typer.Exit(1), DONE, 1, ""),
        (typer.Exit(3), FAILED, 3, ""),
    ],
)  # fmt: skip
def test_what_ends_a_run_is_kept_without_secrets_or_data(
    record, runs_dir, raised, outcome, code, error
):
    with pytest.raises(type(raised)), record():
        raise raised
    (kept,) = runs_in(runs_dir)
    assert (kept.outcome, kept.exit_code, kept.error) == (outcome, code, error)
    written = b"".join(file.read_bytes() for file in (runs_dir / kept.id).iterdir())
    assert b"secret" not in written
    assert b"a row of data" not in written


@pytest.mark.parametrize(("code", "outcome"), [(0, DONE), (1, DONE), (2, FAILED)])
def test_the_code_that_a_command_ends_with_after_its_block_is_the_one_on_record(
    record, runs_dir, code, outcome
):
    with record() as run:
        run.leave(code, error="churn: too\nfew")
    (kept,) = runs_in(runs_dir)
    assert (kept.outcome, kept.exit_code, kept.error) == (outcome, code, "churn: too few")


def test_a_killed_run_is_known_by_its_lock_and_told_of_once(runs_dir):
    command = [sys.executable, "-c", CHILD, str(runs_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "two\n"
        assert [run.outcome for run in runs_in(runs_dir)] == [RUNNING]
        assert newly_killed(runs_dir) == []
        child.kill()
        child.wait()
    (run,) = runs_in(runs_dir)
    assert (run.outcome, [step.name for step in run.steps]) == (KILLED, ["one", "two"])
    assert [found.id for found in newly_killed(runs_dir)] == [run.id]
    assert newly_killed(runs_dir) == []
    assert runs_in(runs_dir) == [run]


def test_a_run_is_kept_while_it_is_among_the_last_or_young(runs_dir):
    now = datetime.fromtimestamp(BEGAN_NS / 1e9, UTC)
    for days, count in ((1, 5), (KEEP_DAYS - 1, KEEP_RUNS), (KEEP_DAYS + 1, 7)):
        for n in range(count):
            (runs_dir / f"{now - timedelta(days=days):%Y%m%dT%H%M%S000}-{n:06x}").mkdir(
                parents=True
            )
    (runs_dir / "not-ours").mkdir()
    tidy(runs_dir, now=BEGAN_NS // 1_000)
    assert len(list(runs_dir.iterdir())) == 5 + KEEP_RUNS + 1
    tidy(runs_dir, now=BEGAN_NS // 1_000 + 1_000 * DAY_NS // 1_000)
    assert len(list(runs_dir.iterdir())) == KEEP_RUNS + 1


def test_a_run_that_cannot_be_put_on_record_goes_on(record, runs_dir, caplog):
    runs_dir.write_text("in the way")
    with record() as run:
        run.step("one")
        run.step("two")
    (line,) = [one for one in caplog.messages if "not put on record" in one]
    assert str(runs_dir) in line
    assert "is a directory" not in line
    assert ".tmp" not in line  # what was refused first, not what came of it


def test_a_file_of_another_version_is_passed_over(record, runs_dir):
    with record():
        pass
    (folder,) = runs_dir.iterdir()
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(told | {"more": 1}))
    assert runs_in(runs_dir) == []
    assert newly_killed(runs_dir) == []


@pytest.fixture
def opportune(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("OPPORTUNE_KEY_SECRET", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_commands_are_listed_newest_first_with_what_came_of_them(opportune, tmp_path, runs_dir):
    file = tmp_path / "f.csv"
    file.write_text("event_id,type,recipient_key,occurred_at\na,sent,somebody,2024-01-01\n")
    assert opportune("ingest", file).exit_code == 0
    assert opportune("check", "--as-of", "2024-01-02").exit_code <= 1
    assert opportune("relabel", "--from", tmp_path / "none.csv").exit_code == 2  # nothing begun
    assert opportune("rollback", "churn").exit_code == 2
    assert [run.command for run in runs_in(runs_dir)] == ["rollback", "check", "ingest"]
    shown = opportune("runs")
    assert shown.exit_code == 0
    rows = [line.split(maxsplit=6) for line in shown.stdout.splitlines() if line[1:7].isalnum()]
    assert [row[3] for row in rows] == ["rollback", "check", "ingest"]
    assert [row[4] for row in rows] == ["failed", "done", "done"]
    assert rows[1][6].startswith("as of 2024-01-02 00:00")
    assert "accepted 1" in rows[2][6]
    assert "churn" in runs_in(runs_dir)[0].error
    ingested = runs_in(runs_dir)[-1]
    told = opportune("runs", ingested.id[-6:])
    assert told.exit_code == 0
    assert "importing" in told.stdout
    assert ingested.id in told.stdout
    assert "rollback" in opportune("runs", "last").stdout
    unknown = opportune("runs", "zzz")
    assert unknown.exit_code == 2
    assert "zzz" in unknown.stderr
    written = "".join(f.read_text() for f in runs_dir.rglob("*") if f.is_file())
    assert "somebody" not in written


def test_the_record_has_the_exit_code_of_the_command(opportune, tmp_path, runs_dir):
    bad, unknown = tmp_path / "bad.csv", tmp_path / "unknown.csv"
    bad.write_text("event_id,type,recipient_key,occurred_at\na,no-type,r1,2024-01-01\n")
    unknown.write_text("event_id,actor\nnone,human\n")
    told = [opportune("ingest", bad), opportune("relabel", "--from", unknown), opportune("check")]
    assert [one.exit_code for one in told[:2]] == [1, 1], [one.output for one in told]
    assert [run.exit_code for run in runs_in(runs_dir)[::-1]] == [one.exit_code for one in told]


def test_what_is_done_for_the_rights_of_people_is_on_record_without_their_keys(
    opportune, tmp_path, runs_dir
):
    file = tmp_path / "world.ndjson"
    words = ("--recipients", 20, "--weeks", 2)
    assert opportune("simulate", file, *words).exit_code == 0
    assert opportune("ingest", file).exit_code == 0
    key = json.loads(file.read_text().splitlines()[0])["recipient_key"]
    out = tmp_path / "told" / f"{key}.json"
    assert opportune("export", key, "--out", out).exit_code == 0
    assert opportune("export", key, "--out", out / "deeper.json").exit_code == 2
    assert opportune("erase", key, "nobody-else").exit_code == 0
    assert opportune("retain").exit_code == 0
    runs = runs_in(runs_dir)[::-1]
    assert [(run.command, run.exit_code) for run in runs] == [
        ("simulate", 0), ("ingest", 0), ("export", 0), ("export", 2), ("erase", 0), ("retain", 0),
    ]  # fmt: skip
    assert all(run.steps for run in runs[:-1])
    assert runs[0].parameters["recipients"] == 20
    assert (runs[4].parameters, runs[4].facts["unknown"]) == ({"recipients": 2}, 1)
    written = "".join(f.read_text() for f in runs_dir.rglob("*") if f.is_file())
    assert key not in written
    assert "nobody-else" not in written


def test_the_next_command_says_which_one_was_killed(opportune, record, runs_dir):
    with record(clock=lambda: BEGAN_NS) as run:
        run.step("fitting trees")
    (folder,) = runs_dir.iterdir()
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(told | {"outcome": RUNNING}))  # and nobody's lock
    said = opportune("check").stderr
    assert "was killed in the step: fitting trees" in said
    assert folder.name in said
    assert "killed" not in opportune("check").stderr
    assert "killed" in opportune("runs").stdout


def test_in_a_narrow_terminal_what_came_of_a_run_is_still_readable(opportune, monkeypatch):
    opportune("check", "--as-of", "2024-01-02")
    monkeypatch.setattr("pipelines.record_commands.OUT.width", 80)
    lines = opportune("runs").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("as of 2024-01-02" in line for line in lines) == 1
    assert len(lines) < 8


def test_a_fault_of_ours_ends_with_2_for_1_is_an_alarm(monkeypatch, capsys):
    monkeypatch.setattr("pipelines.cli.app", lambda: 1 / 0)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["0001-01-01", "1970-01-01", "2100-01-01", "9999-12-31"])
@pytest.mark.parametrize("command", ["check", "monitor", "retrain", "evaluate", "serve"])
def test_a_moment_that_no_event_may_have_is_refused(opportune, command, moment):
    told = opportune(command, "--as-of", moment)
    assert told.exit_code == 2
    assert "is not between 1990 and 2100" in " ".join(told.stderr.split())


def test_a_disk_that_refuses_is_one_line_and_no_alarm(opportune, monkeypatch):
    def refused(*_args, **_named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/data/x")

    monkeypatch.setattr("features.events.log.EventLog.scan", refused)
    told = opportune("check")
    assert (told.exit_code, told.stderr.count("\n")) == (2, 1 + told.stderr.count("check:"))
    assert "Read-only file system: '/data/x'" in told.stderr
