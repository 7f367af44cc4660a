"""Commands that build features: materialize, backfill."""

import time
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from pipelines.console import OUT, errors_shown, run_shown
from pipelines.settings import Settings


def materialize_command() -> None:
    """Fold the event log into states and put them online.

    Run it once after an import; events that come in through the service are folded in as they
    arrive. Safe to repeat at any time.
    """
    with errors_shown(), run_shown("materialize", Settings().data_dir) as run:
        run.step("starting Feast")
        from features.events.log import EventLog
        from features.feast_store import FeastStore
        from features.online import open_store
        from pipelines.materialize import materialize

        settings = Settings()
        with EventLog(settings.events_dir) as log, open_store(settings.online_address) as store:
            feast = FeastStore(settings.feast_dir, online=settings.online_address)
            done = materialize(log=log, feast=feast, store=store, step=run.step)
            run.tell(offset=done.offset, **done.states)
    table = Table(title="Materialized", title_justify="left")
    table.add_column("entity")
    table.add_column("states online", justify="right")
    for entity, count in done.states.items():
        table.add_row(entity, f"{count:,}")
    table.caption = f"log offset {done.offset:,}; Feast repository {settings.feast_dir}"
    OUT.print(table)


def backfill_command(
    *,
    begin: Annotated[
        datetime, typer.Option("--from", help="The first day (UTC).", formats=["%Y-%m-%d"])
    ],
    end: Annotated[
        datetime, typer.Option("--to", help="The last day (UTC).", formats=["%Y-%m-%d"])
    ],
    every_days: Annotated[int, typer.Option(help="Every how many days.", min=1)] = 1,
) -> None:
    """Compute everybody's features as they were at past midnights, for Feast's history views.

    What was known before a midnight never changes, so days that are there are left alone and a
    second call goes on where the first was ended. `opportune erase` removes them all.
    """
    days = f"{begin:%Y-%m-%d} to {end:%Y-%m-%d}"
    if end < begin:
        raise typer.BadParameter(f"{days} holds no day; give a later one", param_hint="--to")
    data_dir = Settings().data_dir
    with errors_shown(), run_shown("backfill", data_dir, days=days, every=every_days) as run:
        run.step("starting Feast")
        from features.events.log import EventLog
        from features.feast_store import FeastStore
        from pipelines.backfill import backfill, midnights

        settings = Settings()
        moments = midnights(begin.date(), end.date(), every_days=every_days)
        with EventLog(settings.events_dir) as log:
            feast = FeastStore(settings.feast_dir, online=settings.online_address)
            now = time.time_ns() // 1_000
            done = backfill(log=log, feast=feast, moments=moments, now=now, step=run.step)
        run.tell(made=sum(each.made for each in done), rows=sum(each.rows for each in done))
    table = Table(title="Backfilled", title_justify="left")
    table.add_column("view")
    for name in ("days made", "rows", "days that were there"):
        table.add_column(name, justify="right")
    for each in done:
        table.add_row(each.view, f"{each.made:,}", f"{each.rows:,}", f"{each.there:,}")
    table.caption = f"a Parquet file a day below {settings.feast_dir}"
    OUT.print(table)
