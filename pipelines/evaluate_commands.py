"""The command that measures registered versions anew: `opportune evaluate`."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from models.errors import ModelError
from pipelines.console import OUT, errors_shown, run_shown
from pipelines.gates_view import gates_table
from pipelines.model_commands import (
    NAMES,
    KnownBefore,
    is_ours,
    micros_of,
    refuse_nothing,
    registry_of,
)
from pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.evaluate import Evaluated


def evaluate_command(
    name: Annotated[
        str | None,
        typer.Argument(help=f"Which model: {', '.join(NAMES)}. [default: all]", metavar="NAME"),
    ] = None,
    version: Annotated[
        str,
        typer.Argument(
            help="A version number or an alias. [default: the champion and the candidate]",
            show_default=False,
        ),
    ] = "",
    *,
    as_of: KnownBefore = None,
) -> None:
    """Measure registered versions on labels that have matured since their training.

    Beside that what their training measured, and what the gates say of it. Nothing is trained,
    changed or promoted.

    Exit code: 0 when something was evaluated, 2 when there is nothing to evaluate.
    """
    settings = Settings()
    moment = None if as_of is None else micros_of(as_of)
    with errors_shown(), ExitStack() as opened:
        chosen = NAMES if name is None else (is_ours(name),)
        run = opened.enter_context(
            run_shown(
                "evaluate", settings.data_dir, as_of=moment, models=list(chosen), version=version
            )
        )
        run.step("starting Feast and MLflow")
        from features.events.log import EventLog
        from features.feast_store import FeastStore
        from pipelines.evaluate import evaluate, versions_asked
        from pipelines.retrain import order_for

        registry = registry_of(settings)
        versions = [v for n in chosen for v in versions_asked(n, version, registry=registry)]
        if not versions:
            raise ModelError("there is no version to evaluate; run `opportune retrain` first")
        log = opened.enter_context(EventLog(settings.events_dir))
        feast = FeastStore(settings.feast_dir, online=settings.online_file)
        feast.apply()
        order = order_for(
            log, feast, as_of=moment, seed=settings.seed, horizon_days=None, step=run.step
        )
        if order is None:
            refuse_nothing(as_of)
        run.at(order.as_of)
        found = []
        for one in versions:
            run.step(f"measuring {one.name} {one.version}")
            found.append(evaluate(one, order=order, registry=registry))
        run.tell(evaluated=[f"{one.name} {one.version}" for one in versions])
    OUT.print(evaluated_table(found))
    for told in found:
        if told.verdict is not None:
            OUT.print(gates_table(told.version.name, told.version.version, told.verdict))


def evaluated_table(found: "Sequence[Evaluated]") -> Table:
    """Each version with what was measured of it, then and since."""
    table = Table(title="Evaluated", title_justify="left")
    for column in ("model", "version"):
        table.add_column(column, no_wrap=True)
    for column in ("aliases", "at its training", "on labels that matured since"):
        table.add_column(column, overflow="fold")
    for one in found:
        told = one.version
        table.add_row(told.name, told.version, ", ".join(told.aliases), told.verdict, one.since)
    return table
