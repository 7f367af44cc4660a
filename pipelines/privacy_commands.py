"""Commands for the rights of recipients: erase, export; and for what is kept no longer: retain."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table

from features.audit import Action
from features.errors import FileUnusableError
from features.events.digests import Digests
from features.witness import recipient
from pipelines.audit_commands import me, noted
from pipelines.console import OUT, UNUSABLE, errors_shown, run_shown, say, show_error
from pipelines.settings import Settings
from serving.settings import ServingSettings

NOT_GONE = 1

KeyArgument = Annotated[
    str, typer.Argument(help="The opaque key of a recipient.", metavar="RECIPIENT_KEY")
]


def erase_command(
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="Opaque keys of recipients.", metavar="RECIPIENT_KEY"),
    ] = None,
    *,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with one key a line, as the log has it, so that none stands in the "
            "shell's history.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Remove recipients from every store for good, and keep late events of theirs out.

    From the event log, its Parquet copy, online states, decisions, what was put aside, and the
    files behind Feast's views. A proof that names nobody is written to `erasures/`. Many at once
    cost hardly more than one: files are written anew once. Safe to repeat, also after a crash.

    Exit code: 0 when all is gone, 1 when something was found again, 2 when a store refused.
    """
    with errors_shown(), ExitStack() as opened:
        from serving.asks import Ask
        from serving.erasure import erase
        from serving.policy import policy_of

        settings = ServingSettings()
        policy = policy_of(settings)
        asked = [*(keys or []), *_keys_in(keys_file)]
        run = opened.enter_context(run_shown("erase", settings.data_dir, recipients=len(asked)))
        run.step("every store is gone through")
        receipt = erase(
            settings,
            asked,
            now=time.time_ns() // 1_000,
            actor=me(),
            id_of=lambda key, send: policy.id_of(Ask(key, send_id=send)),
        )
        run.tell(erased=receipt.n_recipients, unknown=receipt.n_unknown, proof=receipt.id)
        run.leave(0 if receipt.is_verified else NOT_GONE)
    table = Table(title=f"Erased: {receipt.n_recipients:,} recipients", title_justify="left")
    table.add_column("store")
    table.add_column("removed", justify="right")
    for store, n_removed in receipt.stores.items():
        table.add_row(store, f"{n_removed:,}")
    seen = "nothing is left" if receipt.is_verified else "SOMETHING IS LEFT: erase once more"
    table.caption = f"looked at again: {seen}"
    OUT.print(table)
    say(f"Proof: {settings.erasures_dir / receipt.id}.json")
    if receipt.n_unknown:
        said = f"{receipt.n_unknown:,} of {receipt.n_recipients:,} keys had no event and no state"
        OUT.print(f"{said}: erased before, or not spelt as in the log", style="yellow")
    OUT.print("Models that have learnt from them are marked: opportune models", highlight=False)
    if not receipt.is_verified:
        raise typer.Exit(NOT_GONE)


def export_command(
    key: KeyArgument,
    *,
    out: Annotated[Path, typer.Option(help="The JSON file to write.", show_default=False)],
) -> None:
    """Write everything held about one recipient as JSON: for them to read and to take along.

    Events, profile, features, scores of this moment with their reasons, decisions, and the models
    that made them, under a schema version.
    """
    with errors_shown(), ExitStack() as opened:
        from features.events.log import EventLog
        from features.online import open_store
        from models.registry import ModelFolder
        from serving.decider import Decider
        from serving.erasure import checked
        from serving.export import export
        from serving.loader import Loader

        settings = ServingSettings()
        run = opened.enter_context(run_shown("export", settings.data_dir, is_still=True))
        checked([key])
        run.step("gathering what is held")
        loader = Loader(ModelFolder(settings.models_dir))
        loader.look()
        with EventLog(settings.events_dir) as log, open_store(settings.online_address) as store:
            told = export(
                settings,
                key,
                decider=Decider(store, loader),
                log=log,
                store=store,
                now=time.time_ns() // 1_000,
            )
        run.step("writing the file")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        except OSError as error:
            problem = error.strerror or str(error)
            show_error(FileUnusableError(str(out), problem, "name another file by --out"))
            raise typer.Exit(UNUSABLE) from None  # not for the record: its name may hold the key
        named = recipient(Digests(settings.events_dir), key)
        noted(Settings(), (Action.EXPORTED, named))
        counts = {name: len(told[name]) for name in ("events", "features", "decisions")}
        run.tell(**counts)
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    say(f"{out}: {shown}")


def retain_command() -> None:
    """Remove what is older than its class of data may be kept; run it once a day.

    How long is said by OPPORTUNE_RETAIN_EVENTS_DAYS, OPPORTUNE_RETAIN_DECISIONS_DAYS and
    OPPORTUNE_RETAIN_REJECTS_DAYS; zero keeps for ever. The audit log and proofs always stay.
    """
    with errors_shown(), run_shown("retain", Settings().data_dir) as run:
        from pipelines.retain import retain

        settings = Settings()
        removed = retain(settings, now=time.time_ns() // 1_000, step=run.step)
        run.tell(**removed)
        told = " ".join(f"{name}={count}" for name, count in removed.items())
        noted(settings, (Action.RETAINED, told))
    table = Table(title="Kept no longer", title_justify="left")
    table.add_column("class of data")
    table.add_column("kept for", justify="right")
    table.add_column("removed", justify="right")
    for name, count in removed.items():
        days = settings.retained_days[name]
        table.add_row(name, f"{days:g} days" if days else "ever", f"{count:,}")
    table.add_row("audit", "ever", "0")
    OUT.print(table)


def _keys_in(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # \r\n is read as \n
        return [line for line in lines if line.strip()]  # a key may begin or end with a space
    except (OSError, UnicodeDecodeError) as error:
        remedy = "give a text file in UTF-8 with one key a line"
        raise FileUnusableError(str(file), str(error), remedy) from error
