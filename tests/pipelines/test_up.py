"""`opportune up`: both servers answer, and neither stays up without the other."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.processes import free_port
from pipelines.runs import DONE, FAILED, RUNNING, runs_in

START = "from pipelines.cli import main; main()"


@contextmanager
def started(tmp_path):
    """It, once both are up; and where they listen."""
    ports = [str(free_port(0)), str(free_port(0))]
    environment = os.environ | {"OPPORTUNE_DATA_DIR": str(tmp_path / "var"), "COLUMNS": "200"}
    command = [sys.executable, "-c", START, "up", "--port", ports[0], "--mlflow-port", ports[1]]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert any("both are up" in line for line in child.stderr)
            yield child, [f"http://127.0.0.1:{port}" for port in ports]
        finally:
            child.kill()


def is_up(url):
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_both_answer_end_together_and_are_on_record(tmp_path, how):
    with started(tmp_path) as (child, (service, mlflow)):
        assert is_up(f"{service}/readyz")
        assert is_up(f"{mlflow}/health")
        followed = psutil.Process(child.pid).children()[1].environ()["OPPORTUNE_MLFLOW_URL"]
        assert followed == mlflow
        (run,) = runs_in(tmp_path / "var/runs")
        assert (run.command, run.outcome, run.exit_code) == ("up", RUNNING, None)
        child.send_signal(how)
        said = child.stdout.read()
        assert child.wait(30) == 0
        (run,) = runs_in(tmp_path / "var/runs")
        assert (run.outcome, run.exit_code) == (DONE, 0)
        assert len(run.steps) == 2
        assert sum(step.seconds for step in run.steps) <= run.seconds + 0.002
        assert re.findall(r"http://\S+", said) == [service, mlflow]
        assert not is_up(f"{service}/readyz")
        assert not is_up(f"{mlflow}/health")


@pytest.mark.long
def test_where_one_dies_the_other_is_ended_and_the_code_is_not_zero(tmp_path):
    with started(tmp_path) as (child, (service, mlflow)):
        os.kill(psutil.Process(child.pid).children()[1].pid, signal.SIGKILL)
        said = child.stderr.read()
        assert child.wait(30) == 2
        assert "service has ended by itself with code -9" in said
        (run,) = runs_in(tmp_path / "var/runs")
        assert (run.outcome, run.exit_code) == (FAILED, 2)
        assert "service has ended by itself" in run.error
        assert not is_up(f"{service}/readyz")
        assert not is_up(f"{mlflow}/health")


@pytest.mark.parametrize("is_remote", [True, False])
def test_a_server_that_is_up_already_is_told_of(tmp_path, monkeypatch, is_remote):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OPPORTUNE_TRACKING_URI", "http://mlflow:5000" if is_remote else "")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = CliRunner().invoke(app, ["up", "--port", str(taken.getsockname()[1])])
    assert outcome.exit_code == 2
    says = "OPPORTUNE_TRACKING_URI" if is_remote else "the port is taken"
    assert says in outcome.stderr
