"""`opportune check`: what it says of a log, and what it ends with."""

import pytest
from typer.testing import CliRunner

from pipelines.cli import app

ROWS = "event_id,type,recipient_key,occurred_at,utc_offset_min\na,sent,r1,2024-01-01,60\n"
NOTHING = "Nothing to complain about."


@pytest.fixture
def opportune(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_without_events_it_says_so_and_how_to_get_some(opportune, tmp_path):
    empty = opportune("check", "--as-of", "2024-01-02")
    assert empty.exit_code == 0
    said = " ".join(empty.stdout.split())
    assert "No events to check" in said
    assert "2024-01-02 00:00 UTC" in said
    assert "opportune ingest" in said
    assert NOTHING not in said

    (tmp_path / "f.csv").write_text(ROWS)
    assert opportune("ingest", tmp_path / "f.csv").exit_code == 0
    assert NOTHING in opportune("check", "--as-of", "2024-01-02").stdout
    assert "No events to check" in opportune("check", "--as-of", "2023-12-31").stdout


@pytest.mark.parametrize("command", ["check", "monitor"])
def test_the_help_lists_the_codes_it_can_end_with(opportune, command):
    told = " ".join(opportune(command, "--help").stdout.split())
    assert "Exit code: 1" in told
    assert "2 when it cannot be done" in told
    assert "else 0" in told
