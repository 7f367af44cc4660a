"""The command that starts everything that one machine needs: up."""

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.console import OUT, errors_shown, run_shown
from pipelines.settings import Settings
from serving.settings import ServingSettings


def up_command(
    *,
    port: Annotated[
        int | None,
        typer.Option(help="Score on this port of the host. [default: 8080]", min=1, max=65_535),
    ] = None,
    mlflow_port: Annotated[
        int, typer.Option(help="MLflow's port of 127.0.0.1.", min=1, max=65_535)
    ] = 5000,
) -> None:
    """Start MLflow and the scoring service together, for one machine, until interrupted.

    The service follows the alias `champion` of this MLflow. Where one of the two ends, the other
    is ended too; what they say is in `up-mlflow.log` and `up-service.log` in the data directory.

    Exit code: 0 when interrupted, 2 when a server does not start or ends by itself.
    """
    with errors_shown():
        from pipelines.processes import ended_like_ctrl_c
        from pipelines.up import Ports, up

        settings, service = Settings(), ServingSettings()
        ports = Ports(service.host, service.port if port is None else port, mlflow_port)
        with (
            ended_like_ctrl_c(),
            run_shown("up", settings.data_dir, **asdict(ports)) as run,
            suppress(KeyboardInterrupt),  # how it is ended: no failure
        ):
            run.step("starting MLflow and the service")
            with up(settings, ports) as servers:
                for server in (servers.service, servers.mlflow):
                    OUT.print(f"{server.name} at {server.url}", highlight=False)
                run.step("both are up; press Ctrl-C to end")
                servers.wait()
        OUT.print("Both are ended.")
