"""MLflow and the service side by side on one machine: neither stays up without the other."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Final

from features.errors import StoreUnavailableError
from pipelines.processes import POLL_S, free_port, running, wait_until_ready
from pipelines.run_commands import MLFLOW_ENVIRONMENT, mlflow_server
from pipelines.settings import Settings

READY_S: Final = 120.0
ANYWHERE: Final = {"0.0.0.0", "::", ""}  # noqa: S104  compared with, not listened on


@dataclass(frozen=True, slots=True)
class Ports:
    """Where both are to listen; MLflow, which asks nobody for a key, on the loopback alone."""

    host: str
    service: int
    mlflow: int


@dataclass(frozen=True, slots=True)
class Server:
    """One of them, as a child process."""

    name: str
    url: str
    child: Popen[bytes]
    log: Path


@dataclass(frozen=True, slots=True)
class Up:
    """Both, once they answer."""

    mlflow: Server
    service: Server

    def wait(self) -> None:
        """Wait until one of them has ended, which nobody asked it to.

        Raises:
            StoreUnavailableError: It has.
        """
        both = (self.mlflow, self.service)
        while all(server.child.poll() is None for server in both):
            time.sleep(POLL_S)
        ended = next(server for server in both if server.child.poll() is not None)
        problem = f"{ended.name} has ended by itself with code {ended.child.returncode}"
        raise StoreUnavailableError(ended.url, problem, f"see {ended.log}")


@contextmanager
def up(settings: Settings, ports: Ports) -> Iterator[Up]:
    """Both as children, ready; they end with the block.

    Raises:
        StoreUnavailableError: A port is taken, MLflow's database is a server already, or one of
            them does not start.
    """
    if settings.tracking_uri.startswith(("http://", "https://")):
        raise StoreUnavailableError(
            "OPPORTUNE_TRACKING_URI", "it names an MLflow server that is up already",
            "start `opportune serve` with OPPORTUNE_MLFLOW_URL",
        )  # fmt: skip
    if ports.service == ports.mlflow:
        raise StoreUnavailableError(
            f"127.0.0.1:{ports.mlflow}", "both were given this port",
            "choose two by --port and --mlflow-port",
        )  # fmt: skip
    for port in (ports.service, ports.mlflow):
        if free_port(port) != port:
            raise StoreUnavailableError(
                f"127.0.0.1:{port}", "the port is taken", "choose --port and --mlflow-port"
            )
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    host = "127.0.0.1" if ports.host in ANYWHERE else ports.host
    mlflow_url = f"http://127.0.0.1:{ports.mlflow}"
    own = {
        "OPPORTUNE_DATA_DIR": str(settings.data_dir.absolute()),
        "OPPORTUNE_PORT": str(ports.service),
        "OPPORTUNE_MLFLOW_URL": mlflow_url,
    }
    inherited = dict(os.environ)  # noqa: TID251  children inherit the environment
    with ExitStack() as opened:

        def started(name: str, url: str, command: list[str], more: dict[str, str]) -> Server:
            log = settings.data_dir / f"up-{name.lower()}.log"
            child = opened.enter_context(running(command, environment=inherited | more, log=log))
            return Server(name, url, child, log)

        command = mlflow_server(settings, ports.mlflow)
        mlflow = started("MLflow", mlflow_url, command, MLFLOW_ENVIRONMENT)
        command = [sys.executable, "-m", "serving"]
        service = started("service", f"http://{host}:{ports.service}", command, own)
        for server, path in ((service, "/readyz"), (mlflow, "/health")):
            url = server.url + path
            wait_until_ready(url, server.child, seconds=READY_S, log=server.log)
        yield Up(mlflow, service)
