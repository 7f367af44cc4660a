"""Commands around API keys: keys add, keys list, keys revoke."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from features.audit import Action
from features.events.schema import SECOND_US
from pipelines.audit_commands import noted
from pipelines.console import ERR, OUT, errors_shown
from pipelines.model_commands import micros_of
from pipelines.settings import Settings
from serving.keys import NAME, Key, KeyFile, Scope, id_of

keys_app = typer.Typer(
    name="keys", help="API keys of the service: add, list, revoke.", no_args_is_help=True
)


def _is_name(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise typer.BadParameter("up to 64 letters, digits, `.`, `_` and `-`, a letter first")
    return name


@keys_app.command("add")
def add_key_command(
    name: Annotated[
        str,
        typer.Argument(
            help="Whose key it is: letters, digits, `.`, `_`, `-`.",
            metavar="NAME",
            callback=_is_name,
        ),
    ],
    *,
    scope: Annotated[
        list[Scope], typer.Option(help="What it may do; give it once for each scope.")
    ],
    expires: Annotated[
        datetime | None,
        typer.Option(help="From this moment (UTC) it opens nothing.", show_default=False),
    ] = None,
    per_minute: Annotated[
        int | None,
        typer.Option(
            help="How many calls a minute each service process takes from it.",
            min=1,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make an API key and show it, once; the service takes it within two seconds.

    The first key closes the service to everybody without one. A name may have two live keys: to
    rotate, add the new one, hand it out, and revoke the old one.

    Only the key is written to standard output: `KEY=$(opportune keys add mailer --scope score)`.
    """
    with errors_shown():
        now = time.time_ns() // 1_000
        expires_at = 0 if expires is None else micros_of(expires)
        if expires is not None and expires_at <= now:
            raise typer.BadParameter(
                f"{expires} has passed; give a moment to come", param_hint="--expires"
            )
        settings = Settings()
        key = KeyFile(settings.keys_file).add(
            name, frozenset(scope), now=now, expires_at=expires_at, per_minute=per_minute or 0
        )
        scopes = " ".join(sorted(scope))
        noted(settings, (Action.KEY_ADDED, f"{id_of(key)} {name}: {scopes}"))
    ERR.print("This key is shown once and cannot be had again:", highlight=False)
    typer.echo(key)  # as it is, whatever the width of the terminal


@keys_app.command("list")
def list_keys_command() -> None:
    """Show every key ever made: whose, what for, whether it is live; never the key itself."""
    with errors_shown():
        keys = KeyFile(Settings().keys_file).read()
    now = time.time_ns() // 1_000
    table = Table(title="API keys", title_justify="left")
    for column in ("id", "name", "scopes", "state", "created", "expires", "a minute"):
        table.add_column(column)
    for key in keys:
        table.add_row(
            key.id,
            key.name,
            " ".join(sorted(key.scopes)),
            _state(key, now),
            _day(key.created_at),
            _day(key.expires_at) if key.expires_at else "never",
            str(key.per_minute or "any"),
        )
    OUT.print(table)


@keys_app.command("revoke")
def revoke_key_command(
    key_id: Annotated[str, typer.Argument(help="The eight characters after `opp_`.", metavar="ID")],
) -> None:
    """End a key; the service refuses it within two seconds. Safe to repeat.

    A service whose last key was revoked stays closed.
    """
    with errors_shown():
        settings = Settings()
        key = KeyFile(settings.keys_file).revoke(key_id, now=time.time_ns() // 1_000)
        noted(settings, (Action.KEY_REVOKED, f"{key.id} {key.name}"))
    OUT.print(f"{key.id} of {key.name} is revoked", highlight=False)


def _state(key: Key, now: int) -> str:
    if key.revoked_at:
        return "revoked"
    return "live" if key.is_live(now) else "expired"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND_US, UTC).strftime("%Y-%m-%d %H:%M")
