"""Worlds whose mails the service decides: better than the sender's own, and measured right?

    OPPORTUNE_BENCH_WORLDS=8 OPPORTUNE_BENCH_SEED=1 python -m tests.benchmarks.bench_loop

Each world is the demo with a seed of its own, every second one twisted: history, models, six weeks
of mails decided over HTTP by a real service, a change of all tastes, a kill, a retrain with gates.
Beside the simulator's truth stands what the holdout says, and how often its interval holds zero
when those decided for are dealt into arms anew, so that nothing sets the arms apart. The seeds
follow from the commit where none is given, so nobody can tune to them.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from features.events.log import EventLog
from features.events.world_parameters import Twists
from pipelines.demo import demo
from pipelines.demo_servers import OWN
from pipelines.demo_weeks import answered
from pipelines.settings import Settings
from training.monitoring import arms

N_WORLDS: Final = int(os.environ.get("OPPORTUNE_BENCH_WORLDS", "8"))
N_RECIPIENTS: Final = int(os.environ.get("OPPORTUNE_BENCH_RECIPIENTS", "2000"))
WEEKS: Final = 24
DEALS: Final = 100


def played(seed: int, folder: Path) -> dict[str, float]:
    twists = Twists.drawn(np.random.default_rng(seed)) if seed % 2 else None
    settings = Settings(data_dir=folder, tracking_uri="", seed=seed)
    now = time.time_ns() // 1_000
    with demo(
        settings, n_recipients=N_RECIPIENTS, weeks=WEEKS, now=now, step=lambda _: None,
        twists=twists,
    ) as told:  # fmt: skip
        true, said = told.worth, told.weeks[-1].held_out
        cut = next(week.power_cut for week in told.weeks if week.power_cut)
        promoted = sum(len(week.swap_s) for week in told.weeks)
        at_zero = holds_zero(settings, seed=seed)
    assert true is not None
    assert said is not None
    return {
        "twisted": float(seed % 2),
        "engaged within 24 h, per mail": true.lift,
        "engaged within 24 h, per recipient and send": true.gained,
        "opt-outs and complaints": true.left,
        "held back": true.held,
        "answered by a fallback": true.fallbacks,
        "the holdout's lift": said.value,
        "its low end": said.low,
        "its high end": said.high,
        "its interval holds the truth": float(said.low <= true.lift <= said.high),
        "arms dealt anew whose interval holds zero": at_zero,
        "promoted by the gates": promoted,
        "decided the same after a kill": cut.n_same / cut.n_asked,
        "events lost": cut.n_lost,
    }


def holds_zero(settings: Settings, *, seed: int) -> float:
    """The share of deals whose interval holds the lift of nothing; 0.95 is meant."""
    with EventLog(settings.events_dir) as log:
        newest = pl.max_horizontal("occurred_at", "received_at").max()
        as_of = int(log.scan().select(newest).collect().item()) + 1
        personal = answered(settings.decisions_dir, log, at=as_of).filter(arm="personal")
    people = personal["recipient_key"].unique(maintain_order=True)
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(DEALS):
        dealt = pl.DataFrame({"recipient_key": people, "draw": rng.random(len(people))})
        arm = pl.when(pl.col("draw") < OWN["holdout"]).then(pl.lit(arms.HOLDOUT)).otherwise("arm")
        lift = arms.lift_of(personal.join(dealt, on="recipient_key").with_columns(arm=arm))
        held.append(lift is not None and lift.low <= 0.0 <= lift.high)
    return float(np.mean(held))


def main() -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout[:8]
    seed = int(os.environ.get("OPPORTUNE_BENCH_SEED", "0")) or int(commit or "1", 16) % 2**31
    console = Console(width=160)
    worlds = []
    for number in range(seed, seed + N_WORLDS):
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            worlds.append(played(number, Path(folder)))
        console.print(f"world {number}: {time.perf_counter() - begun:.0f} s", worlds[-1])
    table = Table("what", "mean", "95 % interval", "worst", "best", title=f"{N_WORLDS} worlds")
    for name in worlds[0]:
        values = np.array([world[name] for world in worlds])
        half = np.inf
        if len(values) > 1:
            half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
        interval = f"{values.mean() - half:.3f} .. {values.mean() + half:.3f}"
        table.add_row(
            name, f"{values.mean():.3f}", interval, f"{values.min():.3f}", f"{values.max():.3f}"
        )
    console.print(table)


if __name__ == "__main__":
    main()
