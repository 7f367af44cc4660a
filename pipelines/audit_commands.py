"""Commands around the audit log: audit verify, audit show; and how a command writes into it."""

import getpass
import time
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from features.audit import Action, AuditLog, Entry
from pipelines.console import OUT, errors_shown
from pipelines.settings import Settings

audit_app = typer.Typer(
    name="audit", help="The log of who did what: verify it, show it.", no_args_is_help=True
)
BROKEN = 1


def noted(settings: Settings, *entries: tuple[Action, str]) -> None:
    """Write down what this command has done, under the name of who runs it."""
    told = [Entry(*entry) for entry in entries]
    AuditLog(settings.audit_dir).add(told, actor=me(), at=time.time_ns() // 1_000)


def me() -> str:
    """Who runs this command, as the audit log names them."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run under a number without a name
        return "command"


@audit_app.command("verify")
def verify_command() -> None:
    """Check the whole chain: that no line was changed, removed, moved, or cut from the end.

    Exit code: 0 when it is whole, 1 when it is not; the first bad line is named.
    """
    with errors_shown():
        log = AuditLog(Settings().audit_dir)
        verdict = log.verify()
        head = None if verdict.line else log.head()
    table = Table("lines", "chain", "head", title="Audit log", title_justify="left")
    if head is not None:
        table.add_row(f"{verdict.n_sound:,}", "whole", head.hash)
        OUT.print(table)
        return
    table.add_row(f"{verdict.n_sound:,} sound", f"broken at line {verdict.line}", verdict.problem)
    OUT.print(table)
    raise typer.Exit(BROKEN)


@audit_app.command("show")
def show_command(
    last: Annotated[int, typer.Option(help="How many of the newest lines.", min=1)] = 50,
) -> None:
    """Show who did what and when, the newest last; recipients are keyed digests."""
    table = Table("line", "at", "actor", "action", "object", title="Audit log")
    table.title_justify = "left"
    with errors_shown():
        for line in list(AuditLog(Settings().audit_dir).lines())[-last:]:
            cells = (line[name] for name in ("seq", "at", "actor", "action", "object"))
            table.add_row(*(escape(str(cell)) for cell in cells))
    OUT.print(table)
