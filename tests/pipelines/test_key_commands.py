"""`opportune keys`: the key alone on standard output, once; nothing secret anywhere else."""

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from serving.keys import KeyFile


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "30")  # a key is not broken however narrow the terminal
    return lambda *words: CliRunner().invoke(app, ["keys", *words])


def test_add_shows_the_key_alone_and_list_shows_everything_else(shell, tmp_path, monkeypatch):
    added = shell("add", "mailer", "--scope", "score", "--scope", "events", "--per-minute", "60")
    assert added.exit_code == 0, added.output
    key = added.stdout.strip()
    assert added.stdout == f"{key}\n"
    (kept,) = KeyFile(tmp_path / "var" / "keys.json").read()
    assert key.split("_")[1] == kept.id
    assert (sorted(kept.scopes), kept.per_minute) == (["events", "score"], 60)
    shell("add", "old", "--scope", "inspect", "--expires", "2099-01-01")
    shell("revoke", kept.id)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("pipelines.key_commands.OUT.width", 160, raising=False)
    listed = shell("list").stdout
    assert key.split("_", 2)[2] not in listed
    assert kept.digest not in listed
    for word in (kept.id, "mailer", "events score", "revoked", "old", "inspect", "live", "2099"):
        assert word in listed


def test_a_mistake_ends_with_code_2_and_no_key_in_it(shell):
    key = shell("add", "a", "--scope", "score").stdout.strip()
    for words in (
        ("revoke", key),
        ("revoke", "00000000"),
        ("add", "two words", "--scope", "score"),
        ("add", "a"),
        ("add", "a", "--scope", "everything"),
        ("add", "a", "--scope", "score", "--expires", "2001-01-01"),
        ("add", "a", "--scope", "score", "--per-minute", "0"),
    ):
        done = shell(*words)
        assert done.exit_code == 2, (words, done.output)
        assert key not in done.output


def test_a_third_live_key_of_a_name_waits_for_a_revocation(shell):
    first, _ = (shell("add", "a", "--scope", "score").stdout.strip() for _ in range(2))
    third = shell("add", "a", "--scope", "score")
    assert third.exit_code == 2
    assert "opportune keys revoke" in " ".join(third.output.split())
    assert shell("revoke", first.split("_")[1]).exit_code == 0
    assert shell("add", "a", "--scope", "score").exit_code == 0
