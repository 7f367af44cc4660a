"""The service as tests meet it: in process with a clock that stands, or as a real process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from starlette.testclient import TestClient

from pipelines.processes import free_port, wait_until_ready
from serving.http.answer_schemas import ScoreAnswer
from serving.http.app import create_app
from serving.settings import ServingSettings

# What is answered must not depend on how busy the machine is; tests of the deadline set their own.
PATIENT_MS = 30_000


def complete(raw: Any) -> None:
    """Strictly the answer of the schema: every key there, nothing else, no nulls."""
    body = orjson.dumps(raw)
    assert b"null" not in body
    answer = ScoreAnswer.model_validate_json(body, strict=True)
    assert orjson.loads(answer.model_dump_json()) == raw
    assert 0.0 <= raw["send_time"]["p_engage"] <= 1.0
    assert 0.0 <= raw["churn"]["p_churn"] <= 1.0
    assert raw["send_time"]["slots"]
    assert raw["fallback"]["used"] == (raw["fallback"]["reason"] != "none")


@pytest.fixture
def is_complete() -> Callable[[Any], None]:
    return complete


# Nobody is held out and no hour is drawn, so that one call tells what the models say.
PERSONAL = {"holdout": 0.0, "epsilon_hour": 0.0}


@dataclass(frozen=True)
class World:
    """A running service in this process."""

    http: TestClient
    data_dir: Path

    def score(self, key: str, **more: Any) -> Any:
        answer = self.http.post("/v1/score", json={"recipient_key": key, **more})
        assert answer.status_code == 200, answer.text
        complete(answer.json())
        return answer.json()

    def events(self, *events: dict[str, Any]) -> Any:
        answer = self.http.post("/v1/events", json={"events": list(events)})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def open_service(small_world) -> Iterator[Callable[..., World]]:
    """Opens the app over a data directory; the clock stands at the world's end."""
    with ExitStack() as stack:

        def opened(data_dir: Path, **more: Any) -> World:
            # Whoever opens the shared world must not write to it.
            told = {"decision_log": False, "sticky_days": 0, **PERSONAL, **more}
            told = {"mlflow_url": "", "deadline_ms": PATIENT_MS} | told
            settings = ServingSettings(data_dir=data_dir, **told)
            app = create_app(settings, clock=lambda: small_world.now)
            client = TestClient(app, raise_server_exceptions=False)
            return World(stack.enter_context(client), data_dir)

        yield opened


@dataclass
class Process:
    """`python -m serving`, as it runs in production."""

    data_dir: Path
    environment: dict[str, str]
    command: list[str]
    child: subprocess.Popen[bytes] | None = None
    url: str = ""

    @property
    def log(self) -> Path:
        return self.data_dir / "service.log"

    def start(self) -> "Process":
        port = free_port(0)
        self.url = f"http://127.0.0.1:{port}"
        environment = self.environment | {"OPPORTUNE_PORT": str(port)}
        environment["OPPORTUNE_DATA_DIR"] = str(self.data_dir)
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                self.command, env=environment, cwd=self.data_dir, stdout=out, stderr=out
            )
        wait_until_ready(f"{self.url}/readyz", self.child, seconds=60, log=self.log)
        return self

    def post(self, path: str, body: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, timeout=30)

    def score(self, key: str, **more: Any) -> Any:
        answer = self.post("/v1/score", {"recipient_key": key, **more})
        assert answer.status_code == 200, answer.text
        complete(answer.json())
        return answer.json()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.child is not None:
            self.child.send_signal(how)
            self.child.wait(20)
            self.child = None


@contextmanager
def starting() -> Iterator[Callable[..., Process]]:
    """Starts real service processes; they end with the block."""
    started: list[Process] = []

    def start(data_dir: Path, *, command: list[str] | None = None, **environment: str) -> Process:
        patient = {"PYTHONPATH": "", "OPPORTUNE_DEADLINE_MS": str(PATIENT_MS)}
        told = {f"OPPORTUNE_{name.upper()}": str(share) for name, share in PERSONAL.items()}
        own = {**patient, **told, **os.environ, **environment}
        process = Process(data_dir, own, command or [sys.executable, "-m", "serving"])
        started.append(process)
        return process.start()

    try:
        yield start
    finally:
        for process in started:
            process.stop(signal.SIGKILL)


@pytest.fixture
def start_process() -> Iterator[Callable[..., Process]]:
    """Starts the real service process; ended with the test."""
    with starting() as start:
        yield start


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Asks again and again until what is asked is true, at most so many seconds."""

    def wait(asked: Callable[[], Any], *, seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := asked()):
            assert time.monotonic() < deadline, "it did not become true in time"
            time.sleep(0.02)
        return found

    return wait
