"""kill -9 at random moments of a retrain and of a whole-audience run, each run again to its end.

    OPPORTUNE_BENCH_KILLS=20 python -m tests.benchmarks.bench_kills

Each kill strikes a fresh copy of a small world, at a moment drawn evenly from the time that an
undisturbed run takes (libraries loaded; every second world has no MLflow database yet). Then the
same command is given again, and what it leaves is compared byte by byte with what the undisturbed
run left: the four files of the bundle that is `candidate`, or the plan. OPPORTUNE_BENCH_WORLD names
a folder in which the world is kept.
"""

import os
import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl
from rich.console import Console
from rich.table import Table

from models.mlflow_registry import MlflowRegistry
from pipelines.runs import DONE, KILLED, runs_in
from tests.conftest import NOW, make_world
from tests.pipelines.killed import Command, whole

KILLS: Final = int(os.environ.get("OPPORTUNE_BENCH_KILLS", "20"))
AUDIENCE: Final = 6_000
RETRAIN: Final = ("retrain", "churn", "--as-of", "2025-10-25")


class Trial:
    """A command, the worlds it is tried in, and what it leaves."""

    def __init__(self, world: Path, scratch: Path) -> None:
        self.world, self.scratch = world, scratch

    def copied(self, name: str, *, is_bare: bool) -> Path:
        """A world of its own; a bare one has never seen MLflow."""
        into = self.scratch / name
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(self.world, into)
        if is_bare:
            (into / "mlflow.db").unlink()
        return into

    def words(self, data_dir: Path) -> tuple[str, ...]:  # noqa: ARG002  an audience needs it
        """The command."""
        return RETRAIN

    def left(self, data_dir: Path) -> dict[str, bytes]:
        """The files of the candidate."""
        registry = MlflowRegistry(f"sqlite:///{data_dir / 'mlflow.db'}")
        known = registry.versions("churn")
        candidate = next(version for version in known if "candidate" in version.aliases)
        into = data_dir / "fetched"
        into.mkdir()
        folder = registry.fetch(candidate, into)
        return {file.name: file.read_bytes() for file in folder.iterdir()}


class AudienceTrial(Trial):
    """The same of `opportune score`."""

    def words(self, data_dir: Path) -> tuple[str, ...]:
        """With the audience and the send written where the world is."""
        known = pl.scan_ndjson(data_dir / "world.ndjson").select("recipient_key").unique()
        keys = known.collect()["recipient_key"].sort().to_list()
        keys += [f"stranger-{i}" for i in range(AUDIENCE - len(keys))]
        audience, send = data_dir / "audience.parquet", data_dir / "send.yaml"
        pl.DataFrame({"recipient_key": keys}).write_parquet(audience)
        send.write_text("send_id: autumn\ncandidates:\n  - {content_id: item-001}\n")
        named = ("--audience", str(audience), "--send", str(send), "--as-of", "2025-11-08")
        return ("score", *named, "--out", str(data_dir / "plan.parquet"), "--workers", "2")

    def left(self, data_dir: Path) -> dict[str, bytes]:
        """The plan."""
        return {"plan": (data_dir / "plan.parquet").read_bytes()}


def tried(trial: Trial, *, has_bare: bool) -> tuple[float, list[str], int]:
    """Seconds of an undisturbed run, the step each kill struck in, and how many ended otherwise."""
    kinds = (False, True) if has_bare else (False,)
    expected, took = {}, {}
    for is_bare in kinds:
        calm = trial.copied("calm", is_bare=is_bare)
        took[is_bare] = whole(calm, *trial.words(calm))
        expected[is_bare] = trial.left(calm)
    rng, struck, n_other, n = random.Random(17), [], 0, 0
    while len(struck) < KILLS:
        is_bare = kinds[n % len(kinds)]
        n += 1
        data_dir = trial.copied("killed", is_bare=is_bare)
        words = trial.words(data_dir)
        command = Command(data_dir, *words)
        if not command.kill(after_s=rng.uniform(0, took[is_bare])):
            continue  # it was at its end already
        found = runs_in(data_dir / "runs")
        if found and found[0].outcome == DONE:
            continue  # all but its process was
        steps = found[0].steps if found else []
        assert all(run.outcome == KILLED for run in found), [run.outcome for run in found]
        struck.append(steps[-1].name if steps else "before the first step")
        whole(data_dir, *words)
        assert runs_in(data_dir / "runs")[0].outcome == DONE
        n_other += trial.left(data_dir) != expected[is_bare]
    return took[False], struck, n_other


def main() -> None:
    """Make the world, kill, print a table."""
    with TemporaryDirectory() as scratch:
        world = Path(os.environ.get("OPPORTUNE_BENCH_WORLD") or Path(scratch) / "world")
        if not world.exists():
            make_world(world, now=NOW)
        table = Table(title=f"{KILLS} kills each", title_justify="left")
        for column in ("command", "undisturbed, s", "other bytes", "struck in"):
            table.add_column(column, overflow="fold")
        trials = {"retrain": Trial, "score": AudienceTrial}
        for name, kind in trials.items():
            seconds, struck, n_other = tried(kind(world, Path(scratch)), has_bare=name == "retrain")
            steps = ", ".join(f"{step} {struck.count(step)}" for step in dict.fromkeys(struck))
            table.add_row(name, f"{seconds:.1f}", str(n_other), steps)
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
