"""The command that shows what was run: runs."""

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from pipelines.console import OUT, errors_shown
from pipelines.errors import RunUnknownError
from pipelines.runs import DONE, FAILED, INTERRUPTED, KILLED, RUNNING, Run, runs_in
from pipelines.settings import Settings

STYLES = {RUNNING: "cyan", DONE: "", FAILED: "red", INTERRUPTED: "yellow", KILLED: "red"}


def runs_command(
    run_id: Annotated[
        str,
        typer.Argument(
            help="Show the steps of this one: a part of its id is enough, or `last`.",
            metavar="ID",
            show_default=False,
        ),
    ] = "",
    *,
    most: Annotated[int, typer.Option(help="Show at most so many, newest first.", min=1)] = 20,
) -> None:
    """Show which commands ran, when, how long and what came of them; or the steps of one of them.

    Whatever is neither among the last 1,000 nor of the last 90 days is removed by the next run.
    """
    with errors_shown():
        runs_dir = Settings().data_dir / "runs"
        if not run_id:
            OUT.print(runs_table(runs_in(runs_dir, most=most)))
            return
        known = runs_in(runs_dir)
        found = known[:1] if run_id == "last" else [run for run in known if run_id in run.id]
        if len(found) != 1:
            raise RunUnknownError(run_id, [run.id for run in found])
    OUT.print(steps_table(found[0]))


def runs_table(runs: list[Run]) -> Table:
    """A line a run."""
    table = Table(title="Runs", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("run", "began", "command", "outcome"):
        table.add_column(column, no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("what", overflow="fold")
    for run in runs:
        table.add_row(
            run.id[-6:],
            _minute(run.began_at),
            run.command,
            run.outcome,
            _seconds(run.seconds),
            escape(", ".join(text for text in (_as_of(run), _what(run)) if text)),
            style=STYLES.get(run.outcome),
        )
    return table


def steps_table(run: Run) -> Table:
    """A line a step, and under them what was asked and what came of it."""
    title = f"{run.command} {run.id}: {run.outcome}"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("step", overflow="fold")
    table.add_column("began", no_wrap=True)
    table.add_column("seconds", justify="right")
    for step in run.steps:
        table.add_row(escape(step.name), step.at[11:19], _seconds(step.seconds))
    table.add_row("all", run.began_at[11:19], _seconds(run.seconds), style="bold")
    asked = {name: value for name, value in run.parameters.items() if value not in (None, False)}
    told = [f"as of {run.as_of}"] if run.as_of else []
    told += [f"opportune {run.version}", f"asked: {_listed(asked)}", _what(run)]
    table.caption = escape("\n".join(line for line in told if line))
    return table


def _what(run: Run) -> str:
    if run.error:
        return run.error
    if run.outcome == KILLED and run.steps:
        return f"in the step: {run.steps[-1].name}"
    return _listed(run.facts)


def _listed(told: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in told.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _as_of(run: Run) -> str:
    return f"as of {_minute(run.as_of)}" if run.as_of else ""


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.1f}"
