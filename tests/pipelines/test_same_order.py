"""Which orders are the same: whatever decides the bundle is in the digest, nothing else is."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from features.events.log import EventLog
from features.events.schema import DAY_US, Event, EventType
from models.bundle import report_of
from models.mlflow_registry import Entry, MlflowRegistry, Version
from models.report import read_report
from models.specs import BY_NAME
from pipelines.log_digest import events_digest
from pipelines.same_order import ORDER_TAG, made_before, order_digest
from tests.conftest import NOW
from training.recipe import Order
from training.search import Bound

CHILD = """
import sys
from pathlib import Path
from features.events.log import EventLog
from pipelines.log_digest import events_digest
with EventLog(Path(sys.argv[1])) as log:
    print(events_digest(log.scan()))
"""


def event(name, *, at=NOW - DAY_US, learnt_at=NOW, **more):
    return Event(name, EventType.CLICKED, "r1", at, learnt_at, **more)


@pytest.fixture
def log(tmp_path):
    with EventLog(tmp_path / "events") as log:
        log.append([event(f"e{n}", topics=("a", "b"), at=NOW - DAY_US - n) for n in range(50)])
        yield log


def test_events_are_the_same_in_any_order_of_rows_and_in_any_process(log, tmp_path):
    found = events_digest(log.scan())
    rows = log.scan().collect()
    assert events_digest(rows.sample(fraction=1, shuffle=True, seed=1).lazy()) == found
    log.compact()
    assert events_digest(log.scan()) == found
    command = [sys.executable, "-c", CHILD, tmp_path / "events"]
    assert subprocess.check_output(command, text=True).split() == [found]


def test_any_other_value_is_another_log_and_what_is_learnt_later_is_not(log):
    known, before = log.scan(as_of=NOW + 1), events_digest(log.scan(as_of=NOW + 1))
    rows = known.collect()
    others = [
        rows.with_columns(pl.col("recipient_key").replace("r1", "r2")),
        rows.with_columns(pl.col("occurred_at") + 1),
        rows.with_columns(pl.lit(["b", "a"]).alias("topics")),
        rows.head(-1),
        pl.concat([rows, rows.head(1)]),
    ]
    digests = {events_digest(other.cast(rows.schema).lazy()) for other in others}
    assert len(digests | {before}) == len(others) + 1
    log.append([event("late", learnt_at=NOW + DAY_US)])
    assert events_digest(log.scan(as_of=NOW + 1)) == before
    log.append([event("known")])
    assert events_digest(log.scan(as_of=NOW + 1)) != before


def champion(version="1", run_id="a"):
    return Version("churn", version, run_id, ("champion",), {}, "", 0)


def test_every_option_the_moment_the_seed_and_the_champion_make_another_order():
    class Known:
        def __init__(self, *versions):
            self.versions = lambda _: list(versions)

    usual = Known(champion())

    def digest(name="churn", *, events="e", known=usual, intercept=False, **changed):
        order = replace(Order(SimpleNamespace(), NOW, NOW - 9 * DAY_US), **changed)
        return order_digest(
            name, order=order, events=events, registry=known, intercept_only=intercept
        )

    idle = replace(champion("2", "b"), aliases=("candidate",))
    same = digest()
    assert digest(known=Known(idle, champion())) == same
    others = [
        digest("send_time"), digest(events="f"), digest(intercept=True), digest(seed=8),
        digest(as_of=NOW + 1), digest(horizon_days=30.0), digest(search=Bound(trials=3)),
        digest(search=Bound(seconds=3)), digest(known=Known()),
        digest(known=Known(champion("2"))), digest(known=Known(champion(run_id="b"))),
    ]  # fmt: skip
    assert len({same, *others}) == len(others) + 1


def test_only_a_whole_version_counts_and_it_is_the_candidate_again(bundle_folders, tmp_path):
    folder = bundle_folders["churn"]
    place = tmp_path / "artifacts"
    registry = MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=place.as_uri())
    report = read_report(report_of(folder))
    made = [
        registry.add(BY_NAME["churn"], folder, Entry(report, {}, {}, {ORDER_TAG: order}))
        for order in ("one", "two")
    ]
    assert made_before("churn", "three", registry=registry) is None
    assert "candidate" in registry.versions("churn")[0].aliases
    found = made_before("churn", "one", registry=registry)  # as if killed before the alias was set
    assert (found.version.version, found.report) == (made[0].version, report)
    aliases = {v.version: v.aliases for v in registry.versions("churn")}
    assert aliases == {"1": ("candidate",), "2": ()}
    for bundle in Path(place).rglob("bundle"):
        (bundle / "model.onnx").write_bytes(b"spoilt")
    assert made_before("churn", "one", registry=registry) is None
    shutil.rmtree(place)
    assert made_before("churn", "two", registry=registry) is None
