"""The command that trains: `opportune retrain`."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipelines.console import OUT, UNUSABLE, errors_shown, run_shown, show_error
from pipelines.model_commands import (
    NAMES,
    KnownBefore,
    is_ours,
    micros_of,
    refuse_nothing,
    registry_of,
)
from pipelines.settings import Settings
from serving.erasure import remove_sources
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipelines.retrain import Candidate


def retrain_command(  # noqa: PLR0913  one option each
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Which models: {', '.join(NAMES)}. [default: all]", metavar="NAME"),
    ] = None,
    *,
    as_of: KnownBefore = None,
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
            is_ours(name)
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
            from features.events.log import EventLog
            from features.feast_store import FeastStore
            from pipelines.log_digest import events_digest
            from pipelines.retrain import order_for
            from pipelines.same_order import retrain_once
            from training.search import Bound

            registry = registry_of(settings)
            open_things.enter_context(_erasures_minded(settings))
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
                refuse_nothing(as_of)
            order = replace(order, search=Bound(search_s, search_trials))
            run.at(order.as_of)
            step("reading what the order is made of")
            events = events_digest(order.data.events)
            candidates, errors = _that_could(
                partial(
                    retrain_once, name, order=order, events=events, registry=registry,
                    intercept_only=name in shifted, is_again=again, say=_say,
                )
                for name in chosen
            )  # fmt: skip
            run.tell(**{made.version.name: made.version.version for made in candidates})
            run.leave(0 if candidates else UNUSABLE, error="; ".join(errors))
    _show(candidates)


def _say(text: str) -> None:
    OUT.print(text, highlight=False)


def _that_could(
    trainings: "Iterable[Callable[[], Candidate]]",
) -> "tuple[list[Candidate], list[str]]":
    """What came of the trainings that the log was enough for, and why not of the others: shown."""
    candidates, errors = [], []
    for training in trainings:
        try:
            candidates.append(training())
        except TrainingError as error:
            show_error(error)
            errors.append(str(error))
    return candidates, errors


def _show(candidates: "list[Candidate]") -> None:
    for candidate in candidates:
        OUT.print(report_table(candidate))
    if not candidates:
        raise typer.Exit(UNUSABLE)
    commands = "\n".join(f"  opportune promote {c.version.name} candidate" for c in candidates)
    OUT.print(f"Let one serve:\n{commands}", highlight=False)


@contextmanager
def _erasures_minded(settings: Settings) -> "Iterator[None]":
    """Leave nothing behind Feast's views of who was erased meanwhile, however the training ends."""
    from features.events.forget import n_erasures

    n_before = n_erasures(settings.events_dir)
    is_late = False
    try:
        yield
    finally:
        if n_erasures(settings.events_dir) != n_before:
            remove_sources(settings.feast_dir)  # written since by this training
            is_late = True
    if is_late:
        what = "somebody was erased meanwhile and has been learnt from; train once more"
        show_error(TrainingError(what))


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
