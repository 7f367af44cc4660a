"""The command `monitor`: what happened since, and what asks for a retrain."""

import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.console import OUT, errors_shown, run_shown, say
from pipelines.model_commands import micros_of, registry_of
from pipelines.settings import Settings
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from features.events.log import EventLog
    from features.feast_store import FeastStore
    from models.mlflow_registry import MlflowRegistry
    from pipelines.monitored import Monitored

ALARM = 1  # as `opportune check` has it: nothing is wrong with the command


def monitor_command(
    *,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            help="Judge the window before this moment (UTC). [default: now]", show_default=False
        ),
    ] = None,
    window: Annotated[
        float, typer.Option(help="Days of a window; twelve before it are looked at too.", min=1)
    ] = 7.0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for monitor.html and monitor.json. [default: monitor in the data "
            "directory]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Judge the newest window of events, decisions and champions, and say what asks for a retrain.

    Drift, calibration, label health, holdout, exploration, fallbacks and freshness, each beside
    its bound; what cannot be judged yet says why. Writes a page and the numbers behind it, and
    logs both to MLflow.

    Exit code: 1 when there is an alarm, 2 when it cannot be done, else 0.
    """
    with errors_shown(), ExitStack() as opened:
        settings = Settings()
        moment = time.time_ns() // 1_000 if as_of is None else micros_of(as_of)
        run = opened.enter_context(
            run_shown("monitor", settings.data_dir, as_of=moment, window_days=window, out=out)
        )
        run.step("starting Feast and MLflow")
        from features.events.log import EventLog
        from features.feast_store import FeastStore
        from pipelines.monitor_page import made, write_page
        from pipelines.monitor_view import signals_table, triggers_table

        folder = made(out or settings.data_dir / "monitor")
        registry = registry_of(settings)
        log = opened.enter_context(EventLog(settings.events_dir))
        feast = FeastStore(settings.feast_dir, online=settings.online_file)
        run.step("judging events, decisions and champions")
        told = monitored(
            settings, log=log, feast=feast, registry=registry, as_of=moment, days=window,
            is_now=as_of is None,
        )  # fmt: skip
        run.step("writing the page")
        write_page(told, folder)
        _log(told, registry, folder)
        run.tell(alarm=told.has_alarm, due=[each.model for each in told.dues if each.is_due])
        run.leave(ALARM if told.has_alarm else 0)
    OUT.print(signals_table(told), triggers_table(told))
    say(f"Page: {folder / 'monitor.html'}")
    if told.has_alarm:
        raise typer.Exit(ALARM)


def monitored(  # noqa: PLR0913  the edge where everything is joined
    settings: Settings,
    *,
    log: "EventLog",
    feast: "FeastStore",
    registry: "MlflowRegistry",
    as_of: int,
    days: float = 7.0,
    is_now: bool = False,
    service: ServingSettings | None = None,
) -> "Monitored":
    """The monitoring of the settings' data at a moment (microseconds).

    Args:
        service: What the service is set to; None for what the environment says.
    """
    from features.online import open_store
    from pipelines.monitor import Meant, Sources, monitor
    from serving.policy import policy_of
    from training.monitoring.triggers import Limits

    service = service or ServingSettings()
    policy = policy_of(service).name
    meant = Meant(policy, service.epsilon, service.epsilon_hour, service.holdout)
    limits = Limits(settings.retrain_days, settings.retrain_growth)
    with ExitStack() as opened:
        store = None
        is_there = bool(settings.online_store.get_secret_value()) or settings.online_file.exists()
        if is_now and is_there:
            store = opened.enter_context(open_store(settings.online_address))
        sources = Sources(
            log, settings.decisions_dir, feast, registry, store, settings.erasures_dir,
            is_now=is_now,
        )  # fmt: skip
        return monitor(sources, as_of=as_of, days=days, meant=meant, limits=limits)


def due_now(
    settings: Settings,
    names: list[str],
    *,
    log: "EventLog",
    feast: "FeastStore",
    registry: "MlflowRegistry",
    as_of: int | None,
) -> tuple[list[str], set[str], int | None]:
    """Those of some models that are due, of which the intercept alone, and the moment to train at.

    Says what it found. The moment is the one asked for, but where the newest window's labels are
    sick the begin of that window.
    """
    from pipelines.monitor_view import triggers_table

    moment = time.time_ns() // 1_000 if as_of is None else as_of
    told = monitored(settings, log=log, feast=feast, registry=registry, as_of=moment)
    OUT.print(triggers_table(told))
    due = [each.model for each in told.dues if each.is_due and each.model in names]
    shifted = {each.model for each in told.dues if each.is_shift_only}
    if not due:
        OUT.print("No model is due.")
    elif told.has_sick_labels:
        OUT.print("The labels of the newest window are sick: trained on what was before it.")
        return due, shifted, told.windows.newest
    return due, shifted, as_of


def _log(told: "Monitored", registry: "MlflowRegistry", folder: Path) -> None:
    """The page and the numbers, and nothing else that lies in the folder."""
    from shutil import copy
    from tempfile import TemporaryDirectory

    from pipelines.monitor_page import PAGE, PLAIN
    from training.recipe import shown_day

    with TemporaryDirectory() as scratch:
        for name in (PAGE, PLAIN):
            copy(folder / name, scratch)
        day = shown_day(told.windows.as_of)
        tags = {"verdict": "alarm" if told.has_alarm else "fine", "as_of": day}
        registry.log_monitoring(f"as of {day}", told.metrics(), Path(scratch), tags)
