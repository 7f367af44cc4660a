"""The demo's MLflow and service as child processes: begun, killed and begun again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipelines.loop_service import Calendar
from pipelines.processes import free_port, running, wait_until_ready
from pipelines.run_commands import MLFLOW_ENVIRONMENT, mlflow_server
from pipelines.settings import Settings
from serving.settings import ServingSettings

READY_S: Final = 90.0
# One in five is held out, so that weeks tell what would take a sender months; nobody's mail waits.
OWN: Final = {"holdout": 0.2, "deadline_ms": 60_000.0, "poll_s": 0.5}


@dataclass(slots=True, eq=False)
class Servers:
    """Both, below one data directory; they end with the stack.

    Args:
        calendar: Tells the service what time it is.
    """

    stack: ExitStack
    settings: Settings
    calendar: Calendar = field(init=False)
    mlflow_url: str = ""
    service_url: str = ""
    _mlflow: subprocess.Popen[bytes] | None = None
    _service: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.calendar = Calendar(self._file("calendar"))

    @property
    def serving(self) -> ServingSettings:
        """What the service is set to."""
        return ServingSettings(data_dir=self.settings.data_dir, **OWN)  # type: ignore[arg-type]

    def start_mlflow(self) -> None:
        """Begin it; it is ready when the service is."""
        port = free_port(5000)
        self.mlflow_url = f"http://127.0.0.1:{port}"
        command = mlflow_server(self.settings, port)
        self._mlflow = self._running(command, MLFLOW_ENVIRONMENT, "mlflow-server.log")

    def start_service(self) -> None:
        """Begin it, again at the same place, and wait until both are ready."""
        port = int(self.service_url.rpartition(":")[2] or free_port(8080))
        self.service_url = f"http://127.0.0.1:{port}"
        more = {"OPPORTUNE_PORT": str(port), "OPPORTUNE_MLFLOW_URL": self.mlflow_url}
        more |= {f"OPPORTUNE_{name.upper()}": str(value) for name, value in OWN.items()}
        command = [sys.executable, "-m", "pipelines.loop_service", str(self._file("calendar"))]
        self._service = self._running(command, more, "service.log")
        log = self._file("service.log")
        wait_until_ready(f"{self.service_url}/readyz", self._service, seconds=READY_S, log=log)
        if self._mlflow is not None:
            own = self._file("mlflow-server.log")
            wait_until_ready(f"{self.mlflow_url}/health", self._mlflow, seconds=READY_S, log=own)

    def kill_service(self) -> None:
        """As a power cut would."""
        if self._service is not None:
            os.killpg(self._service.pid, signal.SIGKILL)
            self._service.wait()

    def _running(
        self, command: list[str], more: Mapping[str, str], log: str
    ) -> subprocess.Popen[bytes]:
        own = {"OPPORTUNE_DATA_DIR": str(self.settings.data_dir.absolute())}
        environment = dict(os.environ) | own | dict(more)  # noqa: TID251  a child inherits it
        return self.stack.enter_context(
            running(command, environment=environment, log=self._file(log))
        )

    def _file(self, name: str) -> Path:
        return self.settings.data_dir / name
