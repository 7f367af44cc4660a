"""The command `opportune`: the edge where settings and the clock are read."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from features.events.log import EventLog
from features.events.mapping import load_mapping
from features.witness import witness
from pipelines.arm_commands import choose_arm_command
from pipelines.audit_commands import audit_app, me
from pipelines.console import ERR, OUT, UNUSABLE, errors_shown, run_shown, say
from pipelines.evaluate_commands import evaluate_command
from pipelines.feature_commands import backfill_command, materialize_command
from pipelines.ingest import IngestProgress, ingest
from pipelines.key_commands import keys_app
from pipelines.label_commands import relabel_command
from pipelines.link_commands import render_link_command
from pipelines.model_commands import models_command, promote_command, rollback_command
from pipelines.monitor_commands import monitor_command
from pipelines.policy_commands import evaluate_policy_command
from pipelines.privacy_commands import erase_command, export_command, retain_command
from pipelines.record_commands import runs_command
from pipelines.retrain_commands import retrain_command
from pipelines.run_commands import (
    check_command,
    demo_command,
    serve_command,
    simulate_command,
    ui_command,
)
from pipelines.score_commands import score_command
from pipelines.settings import Settings
from pipelines.shadow_commands import shadow_command
from pipelines.summary import table_of
from pipelines.switch_commands import switch as switch_app
from pipelines.text_commands import choose_text_command
from pipelines.up_commands import up_command

app = typer.Typer(
    name="opportune",
    help="Decides when to send an e-mail, whether to hold back and what to put in it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def opportune() -> None:
    """Decides when to send an e-mail, whether to hold back and what to put in it.

    Data lie in the directory that OPPORTUNE_DATA_DIR names (`var` when it is not set).
    """


@app.command("ingest")
def ingest_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="A file of events: .csv or .ndjson (also with .gz), or .parquet.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    *,
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="YAML that says how the file's columns become events. Not needed when they "
            "are called event_id, type, recipient_key, occurred_at and so on.",
            show_default=False,
        ),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the rows that were not accepted, each with its reason. "
            "[default: rejects/<FILE>.ndjson in the data directory]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Import a file of events into the event log.

    Every row is accepted, a duplicate of one that is there, skipped by a condition of the
    mapping, or rejected with a reason. Importing a file twice, or again after a crash, adds
    only what is not there yet.

    Exit code: 0 when a row was accepted or there already, 1 when every row was rejected,
    2 when the file or the mapping cannot be used.
    """
    with errors_shown():
        settings = Settings()
        secret = settings.key_secret.get_secret_value() if settings.key_secret else None
        with (
            run_shown(
                "ingest", settings.data_dir, is_still=True, file=file, mapping=mapping
            ) as run,
            EventLog(settings.events_dir) as log,
            _bar(file.name) as progress,
        ):
            run.step("importing")
            summary = ingest(
                file,
                log=log,
                mapping=load_mapping(mapping) if mapping else None,
                rejects=rejects or settings.rejects_dir / f"{file.name}.ndjson",
                received_at=time.time_ns() // 1_000,
                progress=progress,
                key_secret=secret,
                witness=witness(settings.audit_dir, settings.events_dir, actor=me()),
            )
            run.tell(read=summary.read, accepted=summary.accepted, duplicate=summary.duplicate)
            run.leave(int(summary.is_all_rejected))
    OUT.print(table_of(summary))
    if summary.rejected:
        say(f"Rejected rows: {summary.rejects}")
    if summary.is_all_rejected:
        raise typer.Exit(1)


@contextmanager
def _bar(name: str) -> Iterator["Bar"]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    stored = TextColumn("{task.fields[stored]:,} events stored")
    with Progress(*columns, stored, TimeRemainingColumn(), console=ERR, transient=True) as bar:
        yield Bar(bar, name)


class Bar:
    """A progress bar on standard error; it is gone when the import ends."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(Text(name).plain, total=None, stored=0)

    def __call__(self, at: IngestProgress) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=at.done, total=at.total, stored=at.stored)


_COMMANDS: dict[str, Callable[..., None]] = {
    "materialize": materialize_command,
    "backfill": backfill_command,
    "retrain": retrain_command,
    "evaluate": evaluate_command,
    "promote": promote_command,
    "rollback": rollback_command,
    "shadow": shadow_command,
    "models": models_command,
    "relabel": relabel_command,
    "erase": erase_command,
    "export": export_command,
    "retain": retain_command,
    "score": score_command,
    "evaluate-policy": evaluate_policy_command,
    "choose-arm": choose_arm_command,
    "choose-text": choose_text_command,
    "check": check_command,
    "monitor": monitor_command,
    "render-link": render_link_command,
    "runs": runs_command,
    "serve": serve_command,
    "ui": ui_command,
    "up": up_command,
    "simulate": simulate_command,
    "demo": demo_command,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(audit_app)
app.add_typer(keys_app)
app.add_typer(switch_app)


def main() -> None:
    """Run the command line; a fault of ours ends it with 2, for 1 is an alarm to a scheduler."""
    try:
        app()
    except Exception:  # noqa: BLE001  whatever it is
        ERR.print_exception()
        sys.exit(UNUSABLE)


if __name__ == "__main__":
    main()
