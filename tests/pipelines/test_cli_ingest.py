"""The command line of an import: exit codes, one red line, a summary worth reading."""

import pytest
from typer.testing import CliRunner

from features.events.log import EventLog
from pipelines.cli import app

HEADER = "event_id,type,recipient_key,occurred_at\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.delenv("OPPORTUNE_KEY_SECRET", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: CliRunner().invoke(app, ["ingest", *map(str, words)])


def test_a_file_with_sound_rows_ends_with_0_also_the_second_time(tmp_path, run):
    file = tmp_path / "f.csv"
    file.write_text(HEADER + "a,sent,r,2024-01-01\nb,posted,r,2024-01-01\n")
    for counts in ({"accepted": "1", "duplicate": "0"}, {"accepted": "0", "duplicate": "1"}):
        outcome = run(file)
        assert outcome.exit_code == 0
        lines = [line.split() for line in outcome.stdout.splitlines()]
        found = {line[1]: line[3] for line in lines if len(line) > 3}
        assert found | counts == found
        assert found["rejected"] == "1"
        assert "unknown_type" in outcome.stdout
    with EventLog(tmp_path / "var" / "events") as log:
        assert log.head() == 1
    assert (tmp_path / "var" / "rejects" / "f.csv.ndjson").read_text().count("\n") == 1


def test_a_file_of_rejected_rows_ends_with_1(tmp_path, run):
    file = tmp_path / "f.csv"
    file.write_text(HEADER + "a,posted,[red]r,2024-01-01\n")
    outcome = run(file, "--rejects", tmp_path / "r.ndjson")
    assert outcome.exit_code == 1
    assert f"Rejected rows: {tmp_path / 'r.ndjson'}" in outcome.stdout.splitlines()
    assert (tmp_path / "r.ndjson").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "mapping", "says"),
    [
        ("none.csv", None, "none.csv"),
        ("f.txt", None, ".ndjson.gz"),
        ("f.csv", "colour: x", "unknown key"),
        (
            "f.csv",
            "{event_id: nr, type: type, recipient_key: k, occurred_at: at}",
            "lacks: at, k, nr",
        ),
        (
            "f.csv",
            "{event_id: event_id, type: type, recipient_key: recipient_key,"
            " occurred_at: occurred_at, hash_recipient_key: true}",
            "OPPORTUNE_KEY_SECRET",
        ),
    ],
)
def test_what_cannot_be_used_ends_with_2_and_one_line(tmp_path, run, name, mapping, says):
    if name != "none.csv":
        (tmp_path / name).write_text(HEADER)
    words = [tmp_path / name]
    if mapping is not None:
        (tmp_path / "m.yaml").write_text(mapping)
        words += ["--mapping", tmp_path / "m.yaml"]
    outcome = run(*words)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    line = [text for text in outcome.stderr.splitlines() if "error:" in text]
    assert len(line) == 1
    assert says in line[0]
    assert "Traceback" not in outcome.stderr


def test_the_help_names_the_exit_codes(run):
    outcome = run("--help")
    assert outcome.exit_code == 0
    assert "Exit code" in outcome.stdout
