"""A disk that fills during an import: what is stored is told; a second import adds the rest."""

import re
import subprocess
import sys

import pytest

from features.events.log import EventLog

N_EVENTS = 60_000
CHILD = """
import resource, signal, sys
from pipelines.cli import app
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
app()
"""


@pytest.mark.parametrize("most_mb", [1, 9])
def test_a_full_disk_says_what_is_stored_and_another_import_adds_the_rest(
    tmp_path, monkeypatch, most_mb
):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    file = tmp_path / "f.csv"
    rows = (f"e{n},sent,r{n % 999},1700000000" for n in range(N_EVENTS))
    file.write_text("\n".join(("event_id,type,recipient_key,occurred_at", *rows, "")))
    command = [sys.executable, "-c", CHILD]
    full = subprocess.run(
        [*command, str(most_mb * 2**20), "ingest", file],
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert (full.returncode, "Traceback" in full.stderr) == (2, False)
    told = re.search(r"([\d,]+) of its events are in the log for good, import it again", line)
    with EventLog(tmp_path / "var" / "events") as log:
        assert log.head() == int(told[1].replace(",", ""))
        assert (log.head() > 0) == (most_mb > 1)
        assert log.head() < N_EVENTS
    again = subprocess.run(
        [*command, str(2**40), "ingest", file], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    with EventLog(tmp_path / "var" / "events") as log:
        ids = log.scan().collect()["event_id"]
        assert (log.head(), len(ids), ids.n_unique()) == (N_EVENTS,) * 3
