"""Commands around registered models: promote, rollback, models."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table

from features.audit import Action
from features.events.schema import EARLIEST_US, LATEST_US, SECOND_US
from models.errors import ModelError
from models.registry import ModelFolder
from models.specs import BY_NAME
from models.verdict import Route
from pipelines.audit_commands import noted
from pipelines.console import OUT, REFUSED, errors_shown, run_shown, show_error
from pipelines.gates_view import gates_table
from pipelines.runs import Recorder
from pipelines.settings import Settings
from serving.proofs import Watermark, proofs, watermark
from training.errors import TrainingError

if TYPE_CHECKING:
    from models.mlflow_registry import MlflowRegistry

NAMES = tuple(BY_NAME)


def is_ours(name: str) -> str:
    """The name of a model, as an argument; another one ends the command."""
    if name not in NAMES:
        raise typer.BadParameter(f"{name}; there are {', '.join(NAMES)}")
    return name


NameArgument = Annotated[
    str,
    typer.Argument(help=f"Which model: {', '.join(NAMES)}.", metavar="NAME", callback=is_ours),
]


KnownBefore = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        help="Use only what was known before this moment (UTC). [default: the newest event]",
        show_default=False,
    ),
]


def refuse_nothing(as_of: datetime | None) -> NoReturn:
    """Say that there is no event to go by.

    Raises:
        TrainingError: Always.
    """
    what = "the event log is empty; run `opportune ingest` first"
    if as_of is not None:
        what = f"no event was known before {as_of}; choose a later --as-of or ingest"
    raise TrainingError(what)


def promote_command(
    name: NameArgument,
    version: Annotated[
        str, typer.Argument(help="A version number or an alias such as candidate.")
    ] = "candidate",
    *,
    route: Annotated[
        Route | None,
        typer.Option(
            help="refresh: no worse than the champion. new-spec: better than it and than the "
            "best baseline. [default: refresh where there is a champion to compare with]",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it although a gate refuses it.")
    ] = False,
) -> None:
    """Make a registered version the champion that the service answers with, if the gates let it.

    Exit code: 0 when it is champion, 2 when it cannot be, 3 when a gate refuses it; then
    nothing has changed.
    """
    asked: dict[str, Any] = {"model": name, "version": version, "route": route, "force": force}
    settings = Settings()
    with errors_shown(), run_shown("promote", settings.data_dir, is_still=True, **asked) as run:
        from pipelines.promote import version_of
        from pipelines.review import review

        registry = registry_of(settings)
        run.step("asking the gates")
        chosen = version_of(name, version, registry=registry)
        verdict = review(chosen, registry=registry, route=route)
        if verdict is not None:
            OUT.print(gates_table(name, chosen.version, verdict))
            run.tell(version=chosen.version, passed=verdict.passed)
            if not verdict.passed and not force:
                remedy = "--force promotes it all the same"
                show_error(ModelError(f"{name} {chosen.version} is not promoted; {remedy}"))
                raise typer.Exit(REFUSED)
        _promote(name, chosen.version, Action.PROMOTED, settings, run)


def _promote(name: str, version: str, action: Action, settings: Settings, run: Recorder) -> None:
    from pipelines.promote import promote

    run.step("moving the alias and the pointer")
    folder = ModelFolder(settings.models_dir)
    chosen = promote(name, version, registry=registry_of(settings), folder=folder)
    noted(settings, (action, f"{name} {chosen.version}"))
    run.tell(champion=chosen.version)
    OUT.print(f"{name} {chosen.version} is champion: {chosen.verdict}", highlight=False)


def rollback_command(name: NameArgument) -> None:
    """Make the champion before this one the champion again; no gate asks why.

    The bundle is still on disk, so the running service goes back within seconds.
    """
    settings = Settings()
    with errors_shown(), run_shown("rollback", settings.data_dir, is_still=True, model=name) as run:
        from pipelines.promote import version_before

        folder = ModelFolder(settings.models_dir)
        before = version_before(name, registry=registry_of(settings), folder=folder)
        _promote(name, before.version, Action.ROLLED_BACK, settings, run)


def models_command() -> None:
    """List the registered versions, their verdicts and which one serves."""
    with errors_shown():
        settings = Settings()
        registry = registry_of(settings)
        folder = ModelFolder(settings.models_dir)
        table = Table(title="Models", title_justify="left")
        table.add_column("model", no_wrap=True)
        for column in ("version", "aliases", "serving", "as of", "verdict", "retrain by"):
            table.add_column(column, overflow="fold")
        known = proofs(settings.erasures_dir)
        for name in NAMES:
            champion = folder.champion(name)
            for found in registry.versions(name):
                serves = champion is not None and champion.version == found.version
                table.add_row(
                    name,
                    found.version,
                    ", ".join(found.aliases),
                    "yes" if serves else "",
                    found.tags.get("as_of", ""),
                    found.verdict,
                    _due(
                        watermark(
                            found.tags.get("as_of", ""),
                            known,
                            n_erasures=found.tags.get("n_erasures"),
                        )
                    ),
                )
    OUT.print(table)


def _due(mark: Watermark) -> str:
    """By when a version is to be trained anew, since people it has seen were erased."""
    return f"{mark.retrain_by}: {mark.n_erased:,} erased" if mark.n_erased else ""


def registry_of(settings: Settings) -> "MlflowRegistry":
    """MLflow as the settings have it."""
    from models.mlflow_registry import MlflowRegistry

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    artifacts = None if settings.tracking_uri else settings.artifacts_dir.as_uri()
    return MlflowRegistry(settings.mlflow_uri, artifacts=artifacts)


def micros_of(moment: datetime) -> int:
    """A moment in microseconds; a naive one is UTC. One that no event may have ends the command."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    micros = round(aware.timestamp() * SECOND_US)
    if not EARLIEST_US <= micros < LATEST_US:
        raise typer.BadParameter(f"{moment} is not between 1990 and 2100")
    return micros
