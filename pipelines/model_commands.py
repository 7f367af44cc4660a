"""Commands around models: materialize, retrain, promote, rollback, models."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table

from features.audit import Action
from features.events.schema import SECOND_US
from models.errors import ModelError
from models.gates import Route
from models.registry import ModelFolder
from models.specs import BY_NAME
from pipelines.audit_commands import noted
from pipelines.console import OUT, REFUSED, errors_shown, run_shown, show_error
from pipelines.gates_view import gates_table
from pipelines.runs import Recorder
from pipelines.settings import Settings
from serving.erasure import remove_sources
from serving.proofs import Watermark, proofs, watermark
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from models.mlflow_registry import MlflowRegistry
    from pipelines.retrain import Candidate

NAMES = tuple(BY_NAME)


def _is_ours(name: str) -> str:
    if name not in NAMES:
        raise typer.BadParameter(f"{name}; there are {', '.join(NAMES)}")
    return name


NameArgument = Annotated[
    str,
    typer.Argument(help=f"Which model: {', '.join(NAMES)}.", metavar="NAME", callback=_is_ours),
]


def retrain_command(  # noqa: PLR0913  one option each
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Which models: {', '.join(NAMES)}. [default: all]", metavar="NAME"),
    ] = None,
    *,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            help="Use only what was known before this moment (UTC). [default: the newest event]",
            show_default=False,
        ),
    ] = None,
    horizon_days: Annotated[
        float | None,
        typer.Option(
            help="How many days of silence are churn. [default: by the length of the log]",
            show_default=False,
            min=1,
        ),
    ] = None,
    search_s: Annotated[
        float,
        typer.Option(
            help="Seconds to search for better settings of the trees, for each model of trees. "
            "0: none.",
            min=0,
        ),
    ] = 0.0,
    search_trials: Annotated[
        int,
        typer.Option(
            help="At most so many settings, the usual ones among them. Without --search-s the "
            "same seed gives the same bundle. 0: no bound.",
            min=0,
        ),
    ] = 0,
    intercept_only: Annotated[
        bool,
        typer.Option(
            "--intercept-only",
            help="Keep the champion and fit its intercept anew, on the newest mature labels.",
        ),
    ] = False,
    if_due: Annotated[
        bool,
        typer.Option(
            "--if-due",
            help="Only those that `opportune monitor` finds due now, or at --as-of. Where the "
            "labels of the newest window are sick, on what was known before it; where nothing but "
            "the calibration has shifted, the intercept alone.",
        ),
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Train although the same order has been carried out already."),
    ] = False,
) -> None:
    """Train candidates, measure their exported graphs and register them in MLflow.

    A model whose labels the log cannot give yet is skipped with the reason; the service
    answers with its fallback for it. The same events, moment, code, settings and champion give the
    same version: it is named, and not trained again.

    Exit code: 0 when at least one model was trained or, with --if-due, none is due; 2 when none
    could be.
    """
    chosen = list(names or NAMES)
    shifted = set(chosen) if intercept_only else set()
    with errors_shown():
        for name in chosen:
            _is_ours(name)
        settings = Settings()
        moment = None if as_of is None else micros_of(as_of)
        with ExitStack() as open_things:
            run = open_things.enter_context(
                run_shown(
                    "retrain", settings.data_dir, as_of=moment, models=chosen, seed=settings.seed,
                    horizon_days=horizon_days, search_s=search_s, search_trials=search_trials,
                    intercept_only=intercept_only, if_due=if_due, again=again,
                )
            )  # fmt: skip
            step = run.step
            step("starting Feast, LightGBM and MLflow")
            from features.events.forget import n_erasures
            from features.events.log import EventLog
            from features.feast_store import FeastStore
            from pipelines.log_digest import events_digest
            from pipelines.retrain import order_for
            from pipelines.same_order import retrain_once
            from training.search import Bound

            registry = registry_of(settings)
            n_before = n_erasures(settings.events_dir)
            log = open_things.enter_context(EventLog(settings.events_dir))
            step("reading the event log")
            log.compact()
            feast = FeastStore(settings.feast_dir, online=settings.online_file)
            feast.apply()
            if if_due:
                from pipelines.monitor_commands import due_now

                step("asking what is due")
                chosen, shifted, moment = due_now(
                    settings, chosen, log=log, feast=feast, registry=registry, as_of=moment
                )
                if not chosen:
                    return
            order = order_for(
                log,
                feast,
                as_of=moment,
                seed=settings.seed,
                horizon_days=horizon_days,
                step=step,
            )
            if order is None:
                _refuse_nothing(as_of)
            order = replace(order, search=Bound(search_s, search_trials))
            run.at(order.as_of)
            step("reading what the order is made of")
            events = events_digest(order.data.events)
            candidates = _that_could(
                partial(
                    retrain_once, name, order=order, events=events, registry=registry,
                    intercept_only=name in shifted, is_again=again, say=_say,
                )
                for name in chosen
            )  # fmt: skip
            if n_erasures(settings.events_dir) != n_before:
                _forget_again(settings)
            run.tell(**{made.version.name: made.version.version for made in candidates})
    _show(candidates)


def _say(text: str) -> None:
    OUT.print(text, highlight=False)


def _refuse_nothing(as_of: datetime | None) -> NoReturn:
    what = "the event log is empty; run `opportune ingest` first"
    if as_of is not None:
        what = f"no event was known before {as_of}; choose a later --as-of or ingest"
    raise TrainingError(what)


def _that_could(trainings: "Iterable[Callable[[], Candidate]]") -> "list[Candidate]":
    """What came of the trainings that the log was enough for; the others are told of."""
    candidates = []
    for training in trainings:
        try:
            candidates.append(training())
        except TrainingError as error:
            show_error(error)
    return candidates


def _show(candidates: "list[Candidate]") -> None:
    for candidate in candidates:
        OUT.print(report_table(candidate))
    if not candidates:
        raise typer.Exit(2)
    commands = "\n".join(f"  opportune promote {c.version.name} candidate" for c in candidates)
    OUT.print(f"Let one serve:\n{commands}", highlight=False)


def _forget_again(settings: Settings) -> None:
    remove_sources(settings.feast_dir)  # written since by this training
    what = "somebody was erased meanwhile and has been learnt from; train once more"
    show_error(TrainingError(what))


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
        _promote(name, "previous", Action.ROLLED_BACK, settings, run)


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
                    _due(watermark(found.tags.get("as_of", ""), known)),
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


def report_table(candidate: "Candidate") -> Table:
    """A report as a terminal shows it: the model, its alternatives, then its baselines."""
    report = candidate.report
    title = f"{report.model}, version {candidate.version.version}: {report.verdict}"
    table = Table(title=title, title_justify="left", caption=f"Test: {report.test}")
    table.add_column("method")
    for name in report.row.measures:
        table.add_column(name, justify="right")
    table.add_column(f"gain over it, {report.gain_of}", justify="right")
    own = [measured.short for measured in report.row.measures.values()]
    table.add_row(report.row.method, *own, "", style="bold")
    for row in (*report.alternatives, *report.baselines):
        gain = "" if row.gain is None else row.gain.short
        style = None if row.is_beaten else "yellow"
        measures = [measured.short for measured in row.measures.values()]
        table.add_row(row.method, *measures, gain, style=style)
    return table


def micros_of(moment: datetime) -> int:
    """A moment in microseconds; a naive one is UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(aware.timestamp() * SECOND_US)
