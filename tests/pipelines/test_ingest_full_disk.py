"""A disk that fills up during an import: what is durable is told, and a second run ends it."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import orjson

from features.events.log import EventLog

N, LIMIT = 40_000, 3_000_000  # bytes of a file: some batches of 10,000 go in, not all


def ingest(file, var, *, limit=None):
    def bounded():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [str(Path(sys.executable).with_name("opportune")), "ingest", str(file)],
        env={**os.environ, "OPPORTUNE_DATA_DIR": str(var), "COLUMNS": "200"}, preexec_fn=bounded,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_full_disk_ends_an_import_with_what_is_durable_and_it_goes_on(tmp_path):
    """The limit on the size of files stands for the disk."""
    file, var = tmp_path / "events.ndjson", tmp_path / "var"
    with file.open("wb") as out:
        for i in range(N):
            at = 1_760_000_000 + i
            row = {"event_id": f"e{i}", "type": "sent", "recipient_key": f"r{i}", "occurred_at": at}
            out.write(orjson.dumps(row) + b"\n")
    broken = ingest(file, var, limit=LIMIT)
    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr
    told = re.search(r"([\d,]+) events before it are, and no event is stored twice", broken.stderr)
    with EventLog(var / "events") as log:
        stored = log.head()
    assert 0 < stored < N
    assert int(told[1].replace(",", "")) == stored
    assert ingest(file, var).returncode == 0
    with EventLog(var / "events") as log:
        assert log.scan().collect()["event_id"].n_unique() == log.scan().collect().height == N
