"""The command that brings labels up to date: relabel."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from features.audit import Action
from pipelines.audit_commands import noted
from pipelines.console import ERR, OUT, errors_shown, run_shown
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.relabel import Relabelling

MOST_SHOWN = 10


def relabel_command(
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A CSV with the columns event_id, actor (human, machine, unknown) and reason: "
            "your own corrections, which no rule touches again.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only show what would change.")] = False,
) -> None:
    """Correct the labels of who opened and clicked.

    Runs the rules for machines over the whole event log, or takes your own corrections from a
    file. Corrections are appended, nothing is rewritten; running it again changes nothing.

    Exit code: 1 when the file names an event that is no open or click in the log, else 0.
    """
    with errors_shown(), ExitStack() as opened:
        from features.events.log import EventLog
        from pipelines.relabel import relabel, relabel_by_hand
        from pipelines.verdicts import read_verdicts

        settings = Settings()
        verdicts = None if file is None else read_verdicts(file)
        run = opened.enter_context(
            run_shown("relabel", settings.data_dir, file=file, dry_run=dry_run)
        )
        run.step("reading the event log")
        with EventLog(settings.events_dir) as log:
            if verdicts is None:
                done = relabel(log, is_dry=dry_run, step=run.step)
            else:
                now = time.time_ns() // 1_000
                done = relabel_by_hand(log, verdicts, decided_at=now, is_dry=dry_run)
        if not dry_run and done.n_changed:
            noted(settings, (Action.RELABELLED, f"{done.n_changed} labels"))
        run.tell(looked_at=done.looked_at, changed=done.n_changed)
        run.leave(int(bool(done.unknown)))
    OUT.print(changes_table(done, is_dry=dry_run))
    for event_id in done.unknown[:MOST_SHOWN]:
        ERR.print(f"no open or click in the log: {escape(event_id)}", style="red", highlight=False)
    if done.unknown:
        ERR.print(f"{len(done.unknown):,} unknown event ids", style="red", highlight=False)
        raise typer.Exit(1)


def changes_table(done: "Relabelling", *, is_dry: bool) -> Table | str:
    """How many labels changed, by reason and by the actor before and after."""
    if not done.changes:
        return f"All labels stay: {done.looked_at:,} opens and clicks looked at."
    table = Table(title="Labels that would change" if is_dry else "Labels changed")
    table.title_justify = "left"
    for column in ("reason", "before", "after"):
        table.add_column(column, overflow="fold")
    table.add_column("events", justify="right")
    for (reasons, before, after), count in sorted(done.changes.items()):
        table.add_row(reasons, before, after, f"{count:,}")
    table.add_row("all", "", "", f"{done.n_changed:,}", style="bold")
    rest = "" if is_dry else "; `opportune materialize` puts them online"
    table.caption = f"{done.looked_at:,} opens and clicks looked at{rest}"
    return table
