"""A service that has done a bit of everything, and its page of metrics as numbers."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from models.registry import ModelFolder
from serving.http.app import create_app
from serving.settings import ServingSettings

N_SINGLE, N_BATCH = 12, 120


@contextmanager
def served(world, **more) -> Iterator[TestClient]:
    """The app over a world, whose clock stands at the world's end."""
    settings = ServingSettings(data_dir=world.data_dir, deadline_ms=30_000, **more)
    app = create_app(settings, clock=lambda: world.now)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def beside(world) -> None:
    """A shadow, which is the champion's twin."""
    folder = ModelFolder(world.data_dir / "models")
    shutil.copytree(folder.folder("churn", "1"), folder.folder("churn", "twin"))
    folder.begin_shadow("churn", "twin")


def exercise(http: TestClient, world) -> list[dict]:
    """Calls of every kind; the answers of the scores."""
    answers = []
    people = [*world.people[: N_BATCH - 10], *(f"nobody-{n}" for n in range(10))]
    for n in range(N_SINGLE):
        body = {"recipient_key": people[n], "send_id": f"send-{n}", "candidates": world.candidates}
        answers.append(http.post("/v1/score", json=body).json())
    values = {"engagement": 0.001, "unsubscribe": 500.0, "complaint": 900.0}
    batch = [
        {"recipient_key": key, "candidates": world.candidates, "values": values} for key in people
    ]
    answers += http.post("/v1/score:batch", json={"requests": batch}).json()["results"]
    late = http.post(
        "/v1/score", json={"recipient_key": people[0]}, headers={"x-deadline-ms": "0.001"}
    )
    answers.append(late.json())
    flat = http.get(f"/v1/render/{people[1]}", params={"send_id": "render"})
    assert flat.status_code == 200
    event = {
        "event_id": "observed-1", "type": "clicked", "recipient_key": people[0],
        "occurred_at": (world.now - 60_000_000) / 1e6,
    }  # fmt: skip
    for _ in range(2):
        assert http.post("/v1/events", json={"events": [event, {}]}).status_code == 200
    assert http.post("/v1/score", content=b"{").status_code == 400
    assert http.get(f"/{people[0]}").status_code == 404
    return answers


def samples(http: TestClient | httpx2.Client) -> list:
    """Every sample of /metrics that is ours."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    return [
        one for family in families for one in family.samples if not one.name.endswith("_created")
    ]


def total(found, name: str, **labels: str) -> float:
    """The sum over all labels that are not named."""
    return sum(
        one.value for one in found if one.name == name and labels.items() <= one.labels.items()
    )


def metrics_in(text: str) -> dict[str, list[str]]:
    """Metrics of ours that an expression names, and the text between the braces behind each."""
    found: dict[str, list[str]] = {}
    for name, braces in re.findall(r"\b(opportune_\w+)(?:\{((?:[^}\"]|\"[^\"]*\")*)\})?", text):
        found.setdefault(name, []).append(braces)
    return found
