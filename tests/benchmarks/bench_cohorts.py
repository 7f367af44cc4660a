"""What first-time buyers gain by their country's interests: the content model with and without.

    OPPORTUNE_BENCH_DATA=../shared/data python -m tests.benchmarks.bench_cohorts

Online Retail has no sign-ups, and before a first order nothing is known of anybody. So everybody
signs up a minute before the first order and tells the country, as in a shop with accounts. Both
models are fitted to the same rows in the recipe's way, of more decisions, because first orders are
few; for one of them the cohort's inputs are missing.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest.mock import patch

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features.candidates import is_cold
from features.events.log import EventLog
from features.events.schema import Event, EventType
from features.feast_store import FeastStore
from models.specs.content_preference import (
    COHORT_INPUTS,
    CONTENT_INPUTS,
    RECIPIENT_INPUTS,
    SPEC,
)
from training import choices, metrics
from training.dataset import PointInTime
from training.pointwise import apart
from training.recipes.content_preference import LEAVES, POPULARITY
from training.search import LEAF
from training.trees import fit_trees, raw_score

DATA: Final = Path(os.environ.get("OPPORTUNE_BENCH_DATA", "../shared/data"))
DECISIONS: Final = {"train": 6_000, "test": 2_400}
MINUTE_US: Final = 60_000_000
SEED: Final = 7
OWN: Final = "popularity in the own country"

Floats = NDArray[np.float64]


def sign_ups(log: EventLog) -> Iterator[Event]:
    """One for everybody, a minute before the first order."""
    country = pl.col("properties").str.json_path_match("$.country")
    first = (
        log.scan()
        .select("recipient_key", "occurred_at", country.alias("country"))
        .sort("occurred_at", "recipient_key")
        .unique("recipient_key", keep="first", maintain_order=True)
        .collect()
    )
    for who, ordered, country in first.iter_rows():
        at = ordered - MINUTE_US
        yield Event(f"sign-up {who}", EventType.SIGNED_UP, who, at, at,
                    properties={"country": country})  # fmt: skip


def ndcg_of(log: EventLog, scratch: Path) -> tuple[dict[str, Floats], NDArray[np.bool_], list[str]]:
    """NDCG@10 of every test decision by method, which are of first-time buyers, and whose."""
    log.append([*sign_ups(log)])
    data = PointInTime(log.scan().cache(), FeastStore(scratch / "feast", online=scratch / "o"))
    newest = log.scan().select(pl.col("occurred_at").max()).collect().item()
    with patch.object(choices, "MAX_DECISIONS", DECISIONS):
        spine = choices.choices(data, as_of=newest + 1, seed=SEED).spine
    tastes = data.affinities_at(spine)
    cohorts = data.cohorts_at(spine, tastes)
    people, items = (
        data.recipients_at(spine, RECIPIENT_INPUTS),
        data.contents_at(spine.select("content_id", "at")),
    )
    is_test, y = spine["is_test"].to_numpy(), spine["y"].to_numpy()
    held = apart(SPEC, spine["recipient_key"].to_list())
    fit, stop = ~is_test & ~held, ~is_test & held

    def scored(told: NDArray[np.float32]) -> Floats:
        rows = np.ascontiguousarray(np.concatenate([people, tastes, told, items], axis=1))
        booster = fit_trees(
            (rows[fit], y[fit]), (rows[stop], y[stop]), inputs=SPEC.inputs, seed=SEED,
            **{LEAF: LEAVES.rows_of(int(fit.sum()))},
        )  # fmt: skip
        return raw_score(booster, rows[is_test])

    scores = {
        "model without cohorts": scored(np.full_like(cohorts, np.nan)),
        "model": scored(cohorts),
        "popularity": items[is_test, CONTENT_INPUTS.index(POPULARITY)].astype(np.float64),
        OWN: np.nan_to_num(
            cohorts[is_test, COHORT_INPUTS.index("cohort_item_share")].astype(np.float64)
        ),
    }
    decision = spine["decision"].to_numpy()[is_test]
    starts = np.flatnonzero(np.r_[True, np.diff(decision) != 0])
    groups = [g for g in np.split(np.arange(len(decision)), starts[1:]) if y[is_test][g].sum() > 0]
    first = np.array([g[0] for g in groups])
    shuffle = np.random.default_rng(0).random(len(decision)) * 1e-9  # ties in no one's favour
    ranked = {
        name: np.array([metrics.ndcg(y[is_test][g], (score + shuffle)[g]) for g in groups])
        for name, score in scores.items()
    }
    whose = spine.filter("is_test")["recipient_key"].gather(first).to_list()
    return ranked, is_cold(tastes[is_test][first]), whose


def main() -> None:
    console = Console(width=140)
    file = DATA / "online_retail/online_retail.parquet"
    if not file.exists():
        console.print(f"there is no {file}; say where with OPPORTUNE_BENCH_DATA")
        return
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        mapping = "examples/online_retail/mapping.yaml"
        subprocess.run(
            [Path(sys.executable).with_name("opportune"), "ingest", file, "--mapping", mapping],
            env=os.environ | {"OPPORTUNE_DATA_DIR": name}, check=True,
        )  # fmt: skip
        with EventLog(scratch / "events") as log:
            ranked, is_new, whose = ndcg_of(log, scratch)
    for title, chosen in (("first orders", is_new), ("all", np.ones_like(is_new))):
        some = [key for key, is_in in zip(whose, chosen, strict=True) if is_in]
        values = np.stack([method[chosen] for method in ranked.values()], axis=1)
        both = np.hstack([values, values - values[:, :1]])
        found = metrics.mean_by_group(both, some)
        table = Table("method", "NDCG@10", "gain over the first", title=f"{len(some):,} {title}")
        for place, method in enumerate(ranked):
            if method == OWN and not is_new[chosen].all():  # it is known of the new ones alone
                continue
            table.add_row(method, str(found[place]), str(found[place + len(ranked)]))
        console.print(table)


if __name__ == "__main__":
    main()
