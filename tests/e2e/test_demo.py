"""`opportune demo` as a newcomer runs it: the whole loop, its links, nothing left behind."""

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from features import decisions
from models.registry import ModelFolder
from models.specs import SPECS

# Something@somewhere.top, but not the retina picture names of style sheets (logo@2x.png).
ADDRESS = re.compile(rb"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2,}")


def running_with(mark):
    """Processes whose environment has the mark: all that a command started, near and far."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has just ended
    return found


@dataclass(frozen=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    var = tmp_path_factory.mktemp("demo") / "var"
    own = {"DEMO_EXIT": "1", "OPPORTUNE_DATA_DIR": str(var), "COLUMNS": "200"}
    command = [str(Path(sys.executable).with_name("opportune")), "demo"]
    done = subprocess.run(
        [*command, "--recipients", "1200", "--weeks", "24"], env={**os.environ, **own},
        capture_output=True, text=True, timeout=480, check=False,
    )  # fmt: skip
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    return outcome, var / "demo"


def test_it_tells_the_links_and_what_came_of_every_step(played):
    outcome, data_dir = played
    told = outcome.stdout
    links = re.findall(r"http://127\.0\.0\.1:\d+/(\S*)", told)
    assert {"#/models", "docs", "v1/score"} <= set(links)
    assert re.search(r"The rendered mail:\s+\S+mail\.html", told)
    for spec in SPECS:
        assert f"train {spec.name}" in told
    assert "unknown_recipient" in told  # the stranger among those who were scored
    assert "Traceback" not in told + outcome.stderr
    served = {ModelFolder(data_dir / "models").champion(s.name).version for s in SPECS}
    assert served <= {"1", "2"}  # whatever the gates let through


def test_the_decided_mails_are_better_than_the_senders_own_and_a_kill_changes_none(played):
    outcome, data_dir = played
    told = outcome.stdout
    lift = re.search(
        r"All weeks: \+(\d+\.\d)% engagement per mail, \+(\d+\.\d)% per recipient and send, "
        r"of ([\d,]+); (\d+\.\d)% were held back",
        re.sub(r"\s+", " ", told),
    )
    assert lift is not None
    assert float(lift[1]) > 3.0  # in the world's own truth; 12 to 25 in most worlds
    assert float(lift[2]) > 0.0  # with nothing of those whose mail was held back
    assert int(lift[3].replace(",", "")) > 3_000
    assert float(lift[4]) < 25.0
    same, n, lost = re.search(
        r"begun again: ([\d,]+) of\s*([\d,]+) mails decided\s*the same, (\d+) events lost",
        re.sub(r"\s*│[\s│]*\n?", " ", told),
    ).groups()
    assert same == n != "0"
    assert lost == "0"
    assert "everybody's taste is somebody else's" in re.sub(r"\s+", " ", told)
    assert "due for a retrain: " in told
    assert (data_dir / "weeks.png").read_bytes().startswith(b"\x89PNG")
    logged = decisions.read(data_dir / "decisions").collect()
    assert set(logged["arm"]) == {"personal", "holdout"}


def test_the_mail_shows_the_ranked_items_best_first(played):
    outcome, data_dir = played
    page = (data_dir / "mail.html").read_text()
    told = re.findall(r"item-\d{3}", outcome.stdout.split("the next score knows")[1])
    ranked = list(dict.fromkeys(told))
    assert len(ranked) == 6
    shown = re.findall(r"https://shop\.example/(item-\d{3})", page)
    assert len(shown) in {1, 3}  # one thing for those who are about to leave
    assert shown == ranked[: len(shown)]
    assert "{{" not in page


def test_it_ends_what_it_started(played):
    _, data_dir = played
    assert running_with(f"OPPORTUNE_DATA_DIR={data_dir.parent}".encode()) == []


BINARY = {".png", ".npz", ".onnx", ".sqlite-shm", ".sqlite-wal", ".db-shm", ".db-wal"}


def words_of(file: Path) -> bytes:
    """What can be read in a file; of tables their cells, because packed pages hold any bytes."""
    if file.suffix == ".parquet":
        frame = pl.read_parquet(file)
        texts = frame.select(pl.col(pl.String)).unpivot()["value"].drop_nulls()
        return "\n".join(texts.to_list()).encode()
    raw = file.read_bytes()
    if not raw.startswith(b"SQLite format 3"):
        return raw
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = (row for (name,) in names for row in connection.execute(f'SELECT * FROM "{name}"'))
        return "\n".join(cell for row in rows for cell in row if isinstance(cell, str)).encode()


def test_it_writes_no_address(played):
    _, data_dir = played
    for file in data_dir.rglob("*"):
        if file.is_file() and file.suffix not in BINARY:
            found = set(ADDRESS.findall(words_of(file)))
            assert {a for a in found if not a.endswith(b"example.com")} == set(), file


@pytest.mark.parametrize("words", [("--recipients", "1199"), ("--weeks", "4")])
def test_a_world_too_small_to_learn_from_is_refused_at_once(words):
    command = [str(Path(sys.executable).with_name("opportune")), "demo", *words]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
