"""Commands around the audit log: audit verify, audit show; and how a command writes into it."""

import getpass
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from features.audit import Action, AuditLog, Entry, Verdict
from pipelines.console import OUT, errors_shown
from pipelines.settings import Settings
from serving.proofs import Proof, proofs

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

    Nor may a line be gone that a proof of an erasure names. Exit code: 0 when it is whole, 1 when
    it is not; the first bad line is named.
    """
    with errors_shown():
        settings = Settings()
        log = AuditLog(settings.audit_dir)
        known = proofs(settings.erasures_dir)  # read first: a proof is younger than its line
        verdict = log.verify()
        if not verdict.line:
            verdict = _held_against(known, log) or verdict
        head = None if verdict.line else log.head()
    table = Table("lines", "chain", "head", title="Audit log", title_justify="left")
    if head is not None:
        table.add_row(f"{verdict.n_sound:,}", "whole", head.hash)
        OUT.print(table)
        return
    table.add_row(f"{verdict.n_sound:,} sound", f"broken at line {verdict.line}", verdict.problem)
    OUT.print(table)
    raise typer.Exit(BROKEN)


def _held_against(known: Sequence[Proof], log: AuditLog) -> Verdict | None:
    """What is wrong with the first line that a proof names; None where all are there."""
    hashes = {line["seq"]: line["hash"] for line in log.lines()}
    for proof in sorted(known, key=lambda proof: proof.audit_seq):
        line = proof.audit_seq
        if line < 1:  # made before the log had a line
            continue
        if line > len(hashes):
            missing = len(hashes) + 1
            problem = f"lines are missing: a proof of an erasure names line {line}"
            return Verdict(len(hashes), missing, problem)
        if hashes[line] != proof.audit_hash:
            problem = "its hash is not the one that a proof of an erasure names"
            return Verdict(line - 1, line, problem)
    return None


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
