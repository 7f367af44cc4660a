"""Commands that switch a model off and on: for when nobody has time to find out why."""

from typing import Annotated

import typer
from rich.table import Table

from features.audit import Action
from models.registry import ModelFolder
from pipelines.audit_commands import noted
from pipelines.console import OUT, errors_shown
from pipelines.model_commands import NameArgument
from pipelines.settings import Settings

switch = typer.Typer(
    name="switch",
    no_args_is_help=True,
    help="Let a model no longer answer, or let it answer again.",
)


@switch.command("off")
def off_command(
    name: NameArgument,
    why: Annotated[str, typer.Option(help="For those who come after you.")] = "",
) -> None:
    """Let a model no longer answer: its part of every answer is the prior within a second.

    The fallback reason is `switched_off`; the other models go on. Champions may change
    meanwhile; the one of then answers when the model is switched on.
    """
    with errors_shown():
        settings = Settings()
        ModelFolder(settings.models_dir).switch_off(name, why)
        noted(settings, (Action.SWITCHED_OFF, name))
    OUT.print(f"{name} is off; opportune switch on {name}", highlight=False)


@switch.command("on")
def on_command(name: NameArgument) -> None:
    """Let a model answer again, by the champion of this moment: it may be another one."""
    with errors_shown():
        settings = Settings()
        folder = ModelFolder(settings.models_dir)
        folder.switch_on(name)
        noted(settings, (Action.SWITCHED_ON, name))
        champion = folder.champion(name)
    version = "no champion yet" if champion is None else f"version {champion.version}"
    OUT.print(f"{name} is on: {version}", highlight=False)


@switch.command("list")
def list_command() -> None:
    """Show which models answer, which are switched off, and why they are."""
    table = Table("model", "answers", "why")
    with errors_shown():
        folder = ModelFolder(Settings().models_dir)
        for name, why in folder.switched().items():
            table.add_row(name, "yes" if why is None else "no", why or "")
    OUT.print(table)
