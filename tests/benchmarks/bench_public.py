"""Public data with numbers of its own: CDNOW beside BG/NBD, headlines that surely did better.

    OPPORTUNE_BENCH_DATA=../shared/data python -m tests.benchmarks.bench_public

* CDNOW, 39 weeks to learn from and 39 to foretell: BG/NBD's parameters beside the published ones;
  then our churn model, fitted and exported without the people it is asked about, beside BG/NBD and
  the other baselines on the same people.
* Upworthy's headline tests: the share of pairs that the words put right, of groups of tests that
  share no headline with those learnt from.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.training import cdnow, upworthy
from training.text_trial import put_right

DATA: Final = Path(os.environ.get("OPPORTUNE_BENCH_DATA", "../shared/data"))
PARAMETERS: Final = ("r", "alpha", "a", "b")


def show_cdnow(console: Console) -> None:
    bought = cdnow.purchases(DATA / "cdnow")
    past = cdnow.past_of(bought)
    found = past.fit()
    table = Table("BG/NBD", *PARAMETERS, "log likelihood", title=f"{len(past.people):,} people")
    for name, model, likelihood in (
        ("published", cdnow.PAPER, cdnow.PAPER_LOG_LIKELIHOOD),
        ("found", found, past.log_likelihood(found)),
    ):
        values = [f"{getattr(model, parameter):.3f}" for parameter in PARAMETERS]
        table.add_row(name, *values, f"{likelihood:.1f}")
    console.print(table)
    with tempfile.TemporaryDirectory() as scratch:
        row, others = cdnow.foretold(bought, Path(scratch))
    table = Table("silent for 39 weeks", *row.measures, "log loss saved by the model")
    for one in (row, *others):
        table.add_row(one.method, *map(str, one.measures.values()), str(one.gain or ""))
    console.print(table)


def show_headlines(console: Console) -> None:
    pairs, lead = upworthy.methods(upworthy.headline_pairs(DATA / "upworthy"))
    table = Table("pairs", "n", *lead, title="headlines, share of pairs put right")
    told = upworthy.told_apart(pairs, lead)
    for name, (some, its) in {"told apart at 5 %": told, "all": (pairs, lead)}.items():
        shares = put_right(some, its).values()
        table.add_row(name, f"{len(some.z):,}", *map(str, shares))
    console.print(table)


def main() -> None:
    console = Console(width=160)
    for folder, show in (("cdnow", show_cdnow), ("upworthy", show_headlines)):
        if (DATA / folder).is_dir():
            show(console)
        else:
            console.print(f"there is no {DATA / folder}; say where with OPPORTUNE_BENCH_DATA")


if __name__ == "__main__":
    main()
