"""When real people are active next: `python -m tests.benchmarks.bench_send_time`.

Author dates of commits, as examples/developer_activity imports them; the recipe trains, and the
exported bundle is asked about later years. Three senders hold the same log: one knows everybody's
clock, one nobody's, so that hours are hours of UTC, and one that of every second person. Beside the
global week of each sort of clock: nats per event and the share of later events in the best three
hours of the day, 95 % intervals over people, of differences on the same rows.

Data: ../shared/data/git_activity_dev, or OPPORTUNE_BENCH_GIT.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from features.events.log import EventLog
from features.events.mapping import load_mapping
from features.feast_store import FeastStore
from models.report import Measured
from models.spec import HOURS_PER_WEEK
from pipelines.ingest import ingest
from training import clusters, rhythm
from training.dataset import PointInTime
from training.export import export
from training.recipe import Order
from training.recipes import send_time
from training.send_chain import FLAGS
from training.send_fit import past_of

ROOT: Final = Path(__file__).parents[2]
FILE: Final = Path(
    os.environ.get("OPPORTUNE_BENCH_GIT", ROOT / "../shared/data/git_activity_dev/events.csv.gz")
)
MAPPING: Final = ROOT / "examples/developer_activity/mapping.yaml"
SENDERS: Final = {"everybody's clock": 0, "every second clock": 2, "nobody's clock": 1}
TARGETS: Final = {"everybody's clock": 0.155, "nobody's clock": 0.25}  # nats over the global week
HITS: Final = 0.025


def imported(folder: Path) -> pl.LazyFrame:
    with EventLog(folder / "log") as log:
        ingest(
            FILE, log=log, mapping=load_mapping(MAPPING), rejects=folder / "rejects",
            received_at=1_900_000_000_000_000, progress=lambda _: None,
        )  # fmt: skip
        return log.scan().collect().lazy()


def hidden(events: pl.LazyFrame, one_in: int) -> pl.LazyFrame:
    """The log without the clocks of one person in so many; 0 hides none."""
    if not one_in:
        return events
    is_hidden = pl.col("recipient_key").cast(pl.Int64) % one_in == 0
    return events.with_columns(
        utc_offset_min=pl.when(~is_hidden).then("utc_offset_min"),
        timezone=pl.when(is_hidden).then(pl.lit("")).otherwise("timezone"),
    )


def measured(events: pl.LazyFrame, folder: Path) -> dict[str, Mapping[str, Measured]]:
    """By measure and method the gain over the global week, from the bundle itself."""
    moments = events.select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max())
    first, last = moments.collect().row(0)
    feast = FeastStore(folder / "feast", online=folder / "online.sqlite")
    feast.apply()
    order = Order(PointInTime(events, feast), as_of=last + 1, first=first)
    made = send_time.train(order)
    bundle = export(made.exported, folder / "bundle", report=made.report, about=made.about)

    spine, later = send_time._labelled(order, float(made.parameters["window_days"]))
    past = past_of(order, spine)
    kept = (past.counts.sum(axis=1) > 0) & (later.sum(axis=1) > 0)
    spine, past, later = spine.filter(pl.Series(kept)), past.part(kept), later[kept]
    split = send_time._split(spine)
    rows = np.zeros((int(split[2].sum()), len(bundle.spec.inputs)), np.float32)
    rows[:, :HOURS_PER_WEEK] = past.counts[split[2]]
    rows[:, FLAGS[0]] = past.is_local[split[2]]
    activity = bundle.session.run(rows)["activity"].astype(np.float64)
    methods = send_time._methods(past, later, split, activity)
    methods["one clock for all"] = one_clock(past, later, split, order.seed)
    people = np.unique(spine["recipient_key"].to_numpy().astype(str)[split[2]], return_inverse=True)
    found = {}
    for name, measure in (("nats", rhythm.log_likelihood), ("hit@3", rhythm.hits)):
        values = {method: measure(week, later[split[2]]) for method, week in methods.items()}
        against = np.stack([v - values["global hour-of-week"] for v in values.values()], axis=1)
        found[name] = dict(zip(values, clusters.means(against, people[1]), strict=True))
    return found


def one_clock(past: rhythm.Past, later: rhythm.Floats, split, seed: int) -> rhythm.Floats:
    """The same rhythm for a sender who never asks which clock the hours are of."""
    train, validation, test = split
    blind = rhythm.Past(past.counts, np.zeros(len(past.counts), np.bool_))
    held = (blind.part(validation), later[validation])
    fitted = rhythm.fit_rhythm(blind.part(train), held, seed=seed, cohorts=send_time.COHORTS)
    return fitted.activity(blind.part(test))


def main() -> None:
    console = Console(width=160)
    if not FILE.exists():
        console.print(f"{FILE} is not there: set OPPORTUNE_BENCH_GIT to the commits' events.csv.gz")
        return
    with tempfile.TemporaryDirectory() as scratch:
        events = imported(Path(scratch))
        table = Table("sender knows", "method", "nats over the global week", "hit@3 over it")
        for number, (sender, one_in) in enumerate(SENDERS.items()):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            found = measured(hidden(events, one_in), folder)
            for method, nats in found["nats"].items():
                hits = found["hit@3"][method]
                table.add_row(
                    sender, method, *(f"{m.value:+.3f} [{m.low:+.3f}, {m.high:+.3f}]"
                                      for m in (nats, hits)),
                )  # fmt: skip
            ours, raw = found["nats"]["shrunk rhythm"], found["nats"]["raw histogram"]
            assert ours.value >= TARGETS.get(sender, 0.0), (sender, ours)
            assert found["hit@3"]["shrunk rhythm"].value >= HITS
            assert raw.high < 0.0  # what the industry does loses to not personalizing at all
    console.print(table)


if __name__ == "__main__":
    main()
