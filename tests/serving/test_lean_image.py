"""The serving image without the training stack answers, learns of an event and answers anew."""

import subprocess
import sys

import httpx2

NOT_THERE = (
    "sklearn", "lightgbm", "mlflow", "feast", "pandas", "polars", "numba", "scipy", "pyarrow",
    "onnx", "skl2onnx", "onnxmltools", "duckdb", "typer", "rich", "training", "pipelines",
)  # fmt: skip


def test_the_lean_image_scores_takes_an_event_and_scores_anew(
    serving_image, small_world, start_process, tmp_path
):
    copy = small_world.copy(tmp_path / "var")
    environment = serving_image.environment("serving")
    python = serving_image.directory("serving") / "opt" / "opportune" / "bin" / "python"
    looked_for = [name for name in NOT_THERE if name not in {"training", "pipelines"}]
    script = f"import importlib.util as u; print([n for n in {looked_for} if u.find_spec(n)])"
    found = subprocess.run(
        [python, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "[]"
    service = start_process(
        copy.data_dir, command=[str(python), "-m", "serving"], **(environment | {"PYTHONPATH": ""})
    )
    key = copy.people[0]
    before = service.score(key, candidates=copy.candidates)
    assert before["fallback"]["reason"] == "none"
    event = {
        "event_id": "lean-1", "type": "clicked", "recipient_key": key,
        "occurred_at": before["as_of"], "topics": copy.candidates[-1]["topics"],
        "content_id": copy.candidates[-1]["content_id"],
    }  # fmt: skip
    answer = service.post("/v1/events", {"events": [event]})
    assert answer.json() == {"accepted": 1, "duplicate": 0, "rejected": []}
    after = service.score(key, candidates=copy.candidates)
    assert 0 <= after["feature_age_s"] < 60 < before["feature_age_s"]
    assert after["churn"]["p_churn"] != before["churn"]["p_churn"]
    assert after["content"]["ranking"] != before["content"]["ranking"]
    page = httpx2.get(f"{service.url}/inspect/{key}")
    assert (page.status_code, key in page.text) == (200, True)


def test_importing_the_service_loads_nothing_that_the_image_lacks():
    script = (
        "import serving.http.app, serving.http.run, sys;"
        f"print([name for name in {NOT_THERE} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
