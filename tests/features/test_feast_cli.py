"""`feast` on the command line, in a checkout with nothing but what is tracked."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.processes import free_port

pytestmark = pytest.mark.long  # half a minute and more of a core

ROOT = Path(__file__).parents[2]
FEAST = Path(sys.executable).with_name("feast")
PARTS = ("features", "models", "training", "serving", "pipelines", "pyproject.toml")
JOIN = """
import numpy as np, polars as pl
from datetime import UTC, datetime
from features.assemble import matrix
from features.reading import read
from features.definitions.recipient import VIEW
from features.events.log import EventLog
from features.events.schema import Actor, Event, EventType
from features.feast_place import FeastPlace
from features.feast_store import FeastStore
from features.layout import layout_of
from features.online import open_store
from features.packing import unpack
from pipelines.materialize import materialize
from training.dataset import PointInTime

place = FeastPlace()
now = round(datetime.now(UTC).timestamp() * 1_000_000)
kinds = [EventType.DELIVERED, EventType.CLICKED, EventType.PURCHASED]
events = [
    Event(str(n), kinds[n % 3], f"r{n % 5}", at, at, actor=Actor.HUMAN, content_id=f"i{n % 2}")
    for n in range(120) if (at := now - (200 - n) * 3_600_000_000)
]
feast = FeastStore(place.folder, online=place.online_address)
with EventLog(place.folder.parent / "events") as log, open_store(place.online_address) as store:
    log.append(events)
    materialize(log=log, feast=feast, store=store, step=lambda _: None)
    keys = [f"r{n}" for n in range(6)]
    blobs = store.get("recipient", keys)
    states = [blob and unpack(blob, layout_of(VIEW)) for blob in blobs]
    spine = pl.DataFrame({"recipient_key": keys, "at": [now] * 6})
    joined = PointInTime(log.scan(), feast).recipient(spine, VIEW.names)
    expected = matrix(read(states, now, layout_of(VIEW)), VIEW)
    assert np.count_nonzero(np.nan_to_num(expected)) > 50
    np.testing.assert_allclose(joined, expected, rtol=1e-6, atol=1e-12)
print("rows equal", joined.shape)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What git tracks or would, away from this machine's data, home and settings."""
    root = tmp_path_factory.mktemp("checkout")
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PARTS],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        files = [ROOT / name for name in listed if name]
    else:
        files = [path for part in PARTS for path in [ROOT / part, *(ROOT / part).rglob("*")]]
    for path in files:
        if path.is_file() and path.suffix != ".pyc":
            target = root / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return root


def environment_of(root: Path) -> dict[str, str]:
    (root / "home").mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "TMPDIR"}}
    return kept | {"HOME": str(root / "home"), "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}


def run(root: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=root, env=environment_of(root), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def feast(root: Path, *arguments: str) -> str:
    return run(root, str(FEAST), "-c", "features/feast_repo", *arguments)


@pytest.fixture(scope="module")
def applied(checkout):
    said = feast(checkout, "apply")
    assert "Deploying infrastructure for recipient_state" in said
    return checkout


def test_apply_in_a_clean_checkout_registers_everything_under_var(applied):
    names = {path.name for path in (applied / "var" / "feast").iterdir()}
    assert {"registry.db", "recipient_state.parquet"} <= names
    assert "No changes to registry" in feast(applied, "plan")
    listed = feast(applied, "feature-views", "list")
    assert {"recipient_now", "content_state", "affinity_features"} <= set(listed.split())


@pytest.fixture(scope="module")
def joined(applied):
    assert "rows equal (6, " in run(applied, sys.executable, "-c", JOIN)
    return applied


def test_a_point_in_time_join_after_it_equals_assemble_and_feast_answers_as_of_now(joined):
    as_of = round(datetime.now(UTC).timestamp() * 1_000_000)
    ask = f"-f recipient_now:delivered_hl30d -e recipient_key=r1 -e as_of={as_of}"
    answer = json.loads(feast(joined, "get-online-features", *ask.split()))
    assert answer["recipient_key"] == ["r1"]
    assert 0 < answer["delivered_hl30d"][0] < 24


@pytest.mark.long
def test_feast_materializes_what_is_there_again(joined):
    until = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S")
    for command in (
        ["materialize", "2020-01-01T00:00:00", until],
        ["materialize-incremental", until],
    ):
        said = feast(joined, *command)
        assert "recipient_state" in said
        assert "content_state" in said


@pytest.mark.long
def test_every_command_of_the_page_runs(checkout):
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "feast.md").read_text(), re.DOTALL)
    bin_folder = checkout / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for command in (FEAST, FEAST.with_name("opportune")):
        (bin_folder / command.name).symlink_to(command)
    said = run(checkout, "bash", "-c", "\n".join(["set -euo pipefail", *blocks]))
    assert "delivered_hl30d" in said
    made = checkout / "var" / "feast-page" / "feast"
    assert (made / "registry.db").exists()
    assert (made / "recipient_history" / "2026-01-29.parquet").exists()


def until_it_answers(url: str, child: subprocess.Popen[bytes], *, seconds: float = 90) -> str:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            assert child.poll() is None, "feast ui ended"
            assert time.monotonic() < deadline, f"{url} did not answer in {seconds:g} s"


@pytest.mark.long
def test_the_ui_serves_its_page_and_the_registry(applied, tmp_path):
    port = free_port(0)
    command = [str(FEAST), "-c", "features/feast_repo", "ui", "--host", "127.0.0.1", "--port"]
    with (tmp_path / "ui.log").open("wb") as out:
        child = subprocess.Popen(
            [*command, str(port)], cwd=applied, env=environment_of(applied), stdout=out, stderr=out
        )
    try:
        page = until_it_answers(f"http://127.0.0.1:{port}/", child)
        assert '<div id="root"' in page
        url = f"http://127.0.0.1:{port}/api/v1/feature_views?project=opportune"
        assert "recipient_state" in until_it_answers(url, child)
    finally:
        child.terminate()
        child.wait(30)
