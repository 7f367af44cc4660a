"""What an import acknowledged survives kill -9; running it again completes it, nothing doubled."""

import random
import signal
import subprocess
import sys
import time

import pytest

from features.events.log import EventLog

N_EVENTS = 120_000

CHILD = """
import sys
from pathlib import Path
from features.events.log import EventLog
from pipelines.ingest import ingest
file, root, rejects = map(Path, sys.argv[1:])
with EventLog(root) as log:
    ingest(file, log=log, mapping=None, rejects=rejects, received_at=1_800_000_000_000_000,
           progress=lambda at: print(at.stored, flush=True))
"""


def ids_in(log: EventLog) -> list[str]:
    return log.scan().sort("offset").select("event_id").collect()["event_id"].to_list()


def acknowledged(child: subprocess.Popen, n_batches: int) -> int:
    """What the child reports as stored, after at most so many batches."""
    stored = 0
    for _ in range(n_batches):
        line = child.stdout.readline()
        if not line.endswith(b"\n"):
            break
        stored = int(line)
    return stored


@pytest.mark.parametrize("n_kills", [4, pytest.param(20, marks=pytest.mark.long)])
def test_kill_9_at_random_points_loses_nothing_acknowledged_and_doubles_nothing(tmp_path, n_kills):
    file, root, rejects = tmp_path / "f.csv", tmp_path / "log", tmp_path / "rejects.ndjson"
    with file.open("w") as out:
        out.write("event_id,type,recipient_key,occurred_at\n")
        for n in range(N_EVENTS):
            out.write(f"e{n},{'posted' if n % 1_000 == 7 else 'sent'},r{n % 999},1700000000\n")
    expected = [f"e{n}" for n in range(N_EVENTS) if n % 1_000 != 7]
    rejects.write_text("of an earlier run\n")
    command = [sys.executable, "-c", CHILD, file, root, rejects]
    rng = random.Random(5)
    was_killed, highest = 0, 0
    for kill in range(n_kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            stored = acknowledged(child, rng.randint(1, 1 + kill // 2))
            time.sleep(rng.uniform(0, 0.2))  # only chooses the point within the next batch
            child.kill()
        was_killed += child.returncode == -signal.SIGKILL
        highest = max(highest, stored)
        with EventLog(root) as log:
            ids = ids_in(log)
        assert len(ids) >= highest, "an acknowledged batch is gone"
        assert ids == expected[: len(ids)]
        assert rejects.read_text() == "of an earlier run\n"
    assert was_killed > n_kills // 2

    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    with EventLog(root) as log:
        assert ids_in(log) == expected
    assert len(rejects.read_text().splitlines()) == N_EVENTS // 1_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.csv", "log", "rejects.ndjson"]
