"""The command that scores a whole audience: score."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from features.errors import FileUnusableError
from pipelines.console import ERR, OUT, errors_shown, run_shown, say
from pipelines.model_commands import micros_of
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from pipelines.plan_record import Run

MOST_HOURS: Final = 48  # of which a line each is shown


def score_command(
    *,
    audience: Annotated[
        Path,
        typer.Option(
            help="Parquet or CSV with a column recipient_key, and maybe timezone, previous_band, "
            "default_at, window_from, window_to and test of each.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    send: Annotated[
        Path,
        typer.Option(
            help="YAML with what is asked about everybody: send_id, and the fields of /v1/score.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Where to write the plan, as Parquet.", show_default=False),
    ],
    as_of: Annotated[
        datetime | None,
        typer.Option(
            help="Score everybody at this moment (UTC). [default: that of the unfinished run, "
            "else now]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="How many processes score. [default: one a core]", min=1, show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Keep nothing: a mail rendered later is decided anew."),
    ] = False,
) -> None:
    """Score a whole audience: hour, hold and content of everybody, as the API would answer.

    What is decided is kept, so that a mail rendered later shows what the plan says. A run that
    was ended goes on where it was when the same command is given again; a plan that is there is
    not made again.

    Exit code: 0 when the plan is there, 2 when a file cannot be used or the run could not end.
    """
    with errors_shown():
        from pipelines.audience import read_audience
        from pipelines.plan_run import Order, cores, make_plan
        from pipelines.send_file import read_send

        _refuse_unfit(out, {"--audience": audience, "--send": send})
        settings = ServingSettings()
        asked = read_send(send)
        order = Order(
            audience=read_audience(audience, asked),
            send=asked,
            out=out,
            now=time.time_ns() // 1_000,
            as_of=None if as_of is None else micros_of(as_of),
            workers=workers or cores(),
            is_dry=dry_run,
        )
        told = {"audience": audience, "send": send, "out": out, "dry_run": dry_run}
        with (
            run_shown("score", settings.data_dir, as_of=order.as_of, is_still=True, **told) as kept,
            _bar(out.name) as progress,
        ):
            kept.step("scoring")
            run = make_plan(order, settings, progress=progress)
            kept.at(run.as_of)
            kept.tell(rows=run.rows, sha256=run.sha256, there_already=not run.is_new)
    if run.n_duplicates:
        said = f"{run.n_duplicates:,} rows named a recipient again and were left out"
        OUT.print(said, highlight=False)
    there = "" if run.is_new else ", there already"
    say(f"{out}: {run.rows:,} recipients{there}")
    OUT.print(plan_table(run))


def _refuse_unfit(out: Path, inputs: Mapping[str, Path]) -> None:
    """A plan would take the place of the file that it is made from."""
    remedy = "name another file by --out"
    if out.is_dir():
        raise FileUnusableError(str(out), "is a folder", "name a file in it by --out")
    for option, file in inputs.items():
        if out.resolve() == file.resolve() or (out.exists() and out.samefile(file)):
            raise FileUnusableError(str(out), f"is what {option} names, to be read", remedy)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error that is gone in the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    many = TextColumn("{task.completed:,.0f} of {task.total:,.0f} recipients")
    with Progress(*columns, many, TimeRemainingColumn(), console=ERR, transient=True) as bar:
        task = bar.add_task(name, total=0)
        yield lambda n_done, n_all: bar.update(task, completed=n_done, total=n_all)


def plan_table(run: "Run") -> Table:
    """What a run came to."""
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("found", justify="right")
    table.add_row("as of", datetime.fromtimestamp(run.as_of / 1e6, UTC).isoformat())
    table.add_row("models", ", ".join(f"{n} {v}" for n, v in run.versions.items()) or "none")
    if run.off:
        table.add_row("switched off", ", ".join(run.off))
    if run.is_new and run.scored:
        speed = run.scored / max(run.score_s, 1e-9)
        said = f"{speed:,.0f} ({speed / run.workers:,.0f} a process)"
        table.add_row("recipients a second", said)
    if run.rounds:
        table.add_row("rounds of finding room", f"{run.rounds:,}")
        table.add_row("mails too many in their hour", f"{run.n_over:,}")
    for name, words in (("hold_reason", "hold"), ("fallback", "fallback"), ("arm", "arm")):
        table.add_section()
        for value, n in sorted(run.counts[name].items(), key=lambda found: -found[1]):
            table.add_row(f"{words}: {value}", f"{n:,}")
    table.add_section()
    for hour, n in sorted(run.hours.items())[:MOST_HOURS]:
        table.add_row(f"mails at {hour}", f"{n:,}")
    later = sum(n for _, n in sorted(run.hours.items())[MOST_HOURS:])
    if later:
        table.add_row("mails later", f"{later:,}")
    return table
