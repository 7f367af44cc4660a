"""Settings that do not fit: refused in plain words before anything starts, without a secret."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from serving.settings import ServingSettings, wrong_settings

WRONG = {
    "OPPORTUNE_DEADLINE_MS": "abc",
    "OPPORTUNE_RENDER_SECRET": "s3cret",
    "OPPORTUNE_MLFLOW_URL": "http://",
}


def ended_with(tmp_path, **told):
    environment = os.environ | {"OPPORTUNE_DATA_DIR": str(tmp_path), "OPPORTUNE_PORT": "0"} | told
    return subprocess.run(
        [sys.executable, "-m", "serving"], env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("told", [WRONG, {"OPPORTUNE_WEBHOOK_SECRETS": "{s3cret"}])
def test_the_service_says_what_is_wrong_with_its_settings_and_ends(tmp_path, told):
    done = ended_with(tmp_path, **told)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(told)
    assert all(any(f"error: {name}" in line for line in lines) for name in told)
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("poll_s", "inf"), ("poll_s", "nan"), ("poll_s", "0"), ("drain_s", "nan"), ("port", "-1")]
    + [("mlflow_url", url) for url in ("http://", "https:///runs", "http://:5000", "ftp://h", "h")],
)
def test_what_no_setting_can_be_is_refused_by_its_name(monkeypatch, name, value):
    monkeypatch.setenv(f"OPPORTUNE_{name.upper()}", value)
    with pytest.raises(ValidationError) as raised:
        ServingSettings()
    (problem,) = wrong_settings(raised.value)
    assert problem.startswith(f"OPPORTUNE_{name.upper()}")


@pytest.mark.parametrize("url", ["http://h", "https://h.example:5000/x/", "http://[::1]:5000"])
def test_a_server_that_is_named_is_taken(monkeypatch, url):
    monkeypatch.setenv("OPPORTUNE_MLFLOW_URL", url)
    assert ServingSettings().mlflow_url == url.rstrip("/")
