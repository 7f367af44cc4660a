"""Commands that run something: check, serve, ui, simulate, demo."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from features.events.schema import DAY_US
from models.mlflow_file import is_missing
from pipelines.console import OUT, errors_shown, run_shown, say, steps_shown
from pipelines.model_commands import micros_of
from pipelines.quality_view import findings_table, sources_table
from pipelines.settings import DemoSettings, Settings
from serving.settings import ServingSettings


def check_command(
    *,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            help="Judge the four weeks before this moment (UTC). [default: now]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Judge whether the event log is fit to learn from.

    Shows what every source sent in the last four weeks, which ones fell silent or changed
    their volume, and what labels and features will miss, each with a remedy.

    Exit code: 1 when something is broken, 2 when it cannot be done, else 0: also where there is
    no event to check.
    """
    with errors_shown():
        from features.events.log import EventLog
        from features.quality import quality

        moment = time.time_ns() // 1_000 if as_of is None else micros_of(as_of)
        settings = Settings()
        with (
            run_shown("check", settings.data_dir, as_of=moment, is_still=True) as run,
            EventLog(settings.events_dir) as log,
        ):
            run.step("judging the event log")
            found = quality(log.scan(as_of=moment), as_of=moment)
            run.tell(alarm=found.has_alarm)
            run.leave(int(found.has_alarm))
    OUT.print(sources_table(found, as_of=moment), findings_table(found, as_of=moment))
    if found.has_alarm:
        raise typer.Exit(1)


def serve_command(
    *,
    host: Annotated[str | None, typer.Option(help="Listen here. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Listen on this port. [default: 8080]")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            help="Answer as if it were always this moment (UTC): for logs of the past. What is "
            "decided and taken in has that time too: use a copy of the data. [default: the clock]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Answer scoring calls over HTTP until interrupted.

    Serves the champions that `opportune promote` put in place and takes new ones without a
    restart. Without any it still answers, with fallbacks that say so. With OPPORTUNE_MLFLOW_URL
    set, the alias `champion` in that MLflow server decides.
    """
    with errors_shown():
        chosen = {"host": host, "port": port}
        settings = ServingSettings(**{k: v for k, v in chosen.items() if v is not None})  # type: ignore[arg-type]
        OUT.print(
            f"Scoring at http://{settings.host}:{settings.port}/v1/score  (docs: /docs)",
            highlight=False,
        )
        from threadpoolctl import threadpool_limits

        from serving.clock import system_clock
        from serving.http.run import serve

        moment = None if as_of is None else micros_of(as_of)
        with threadpool_limits(1, user_api="blas"):  # as `python -m serving`, which tells why
            serve(settings, clock=system_clock if moment is None else lambda: moment)


def ui_command(
    *,
    port: Annotated[
        int, typer.Option(help="Listen on this port of 127.0.0.1.", min=1, max=65_535)
    ] = 5000,
) -> None:
    """Open MLflow's screen on runs, versions and aliases.

    It is also the server that the service follows aliases from:
    `OPPORTUNE_MLFLOW_URL=http://127.0.0.1:5000 opportune serve`.
    """
    with errors_shown():
        settings = Settings()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        OUT.print(f"MLflow at http://127.0.0.1:{port}", highlight=False)
        environment = dict(os.environ) | MLFLOW_ENVIRONMENT  # noqa: TID251  a child inherits it
        command = mlflow_server(settings, port)
        raise typer.Exit(subprocess.call(command, env=environment))  # noqa: S603


# MLflow's queue of background jobs is ten processes and two gigabytes that we never use.
MLFLOW_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "true"}


def mlflow_server(settings: Settings, port: int) -> list[str]:
    """The command line of an MLflow server over the settings' tracking database, which is there."""
    if is_missing(settings.mlflow_uri):
        from models.mlflow_registry import MlflowRegistry

        MlflowRegistry(settings.mlflow_uri)
    return [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", settings.mlflow_uri,
        "--default-artifact-root", settings.artifacts_dir.as_uri(),
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip


def simulate_command(
    file: Annotated[Path, typer.Argument(help="Where to write the events, as NDJSON.")],
    *,
    recipients: Annotated[int, typer.Option(help="How many people.", min=1)] = 2_000,
    weeks: Annotated[int, typer.Option(help="How many weeks of mail.", min=1)] = 26,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 7,
    truth: Annotated[
        Path | None,
        typer.Option(help="Where to write, as Parquet, what no sender knows of each person."),
    ] = None,
    twisted: Annotated[
        bool,
        typer.Option(
            "--twisted",
            help="A world unlike what the models assume: some sweep their inbox at fixed hours, "
            "and visits follow other rhythms than mail.",
        ),
    ] = False,
) -> None:
    """Write the events of a made-up world: people, mails, clicks, visits, purchases.

    The file is ready for `opportune ingest FILE`, without a mapping.
    """
    with errors_shown():
        import numpy as np

        from features.events.simulator import simulate, write_ndjson
        from features.events.world_parameters import Twists

        today = time.time_ns() // 1_000 // DAY_US * DAY_US
        asked = {"file": file, "recipients": recipients, "weeks": weeks, "seed": seed}
        told = {"truth": truth, "twisted": twisted}
        with run_shown(
            "simulate", Settings().data_dir, as_of=today, is_still=True, **asked, **told
        ) as run:
            run.step("living the weeks")
            twists = Twists.drawn(np.random.default_rng(seed)) if twisted else None
            world = simulate(
                seed=seed, n_recipients=recipients, weeks=weeks, ends_at=today, twists=twists
            )
            run.step("writing")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_ndjson(world.events, file)
            if truth is not None:
                truth.parent.mkdir(parents=True, exist_ok=True)
                world.truth.write_parquet(truth)
            run.tell(events=world.events.height)
    say(f"{world.events.height:,} events of {recipients:,} people in {file}")


def demo_command(
    *,
    recipients: Annotated[int, typer.Option(help="How many people.", min=1_200)] = 4_000,
    weeks: Annotated[
        int, typer.Option(help="How many weeks of mail before the service decides.", min=24)
    ] = 24,
) -> None:
    """Play the whole loop on a made-up world: events, models, weeks of decided mails, a retrain.

    Shows what the decisions are worth beside the sender's own, in the truth of that world and by
    the holdout. Empties and fills `demo` in the data directory. At the end MLflow and the service
    stay up to look at, until Ctrl-C; with DEMO_EXIT=1 in the environment it ends by itself.
    """
    with errors_shown(), steps_shown("demo") as step:
        step("starting Feast, LightGBM and MLflow")
        from pipelines.demo import demo
        from pipelines.demo_view import show
        from pipelines.processes import ended_like_ctrl_c

        settings = DemoSettings()
        own = Settings(data_dir=settings.data_dir / "demo", tracking_uri="")
        now = time.time_ns() // 1_000
        with (
            ended_like_ctrl_c(),
            demo(own, n_recipients=recipients, weeks=weeks, now=now, step=step) as told,
        ):
            show(told, OUT)
            if not settings.demo_exit:
                step("everything stays up; press Ctrl-C to end")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
