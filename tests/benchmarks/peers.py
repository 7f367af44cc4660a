"""The same work done another way: services to hold ours against, each an ASGI application.

    uvicorn --factory tests.benchmarks.peers:near_limit

OPPORTUNE_BENCH_DIR is the folder that `bench_serving` has filled.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel

ROWS = "rows.sqlite"  # table `rows`: a key and its model inputs as float32
TREES = "trees.txt"
FEAST = "feast"
WINDOW, N_CANDIDATES = 24, 20


class Item(BaseModel):
    content_id: str
    topics: list[str] = []


class Asked(BaseModel):
    recipient_key: str
    timezone: str = ""
    candidates: list[Item] = []


def _folder() -> Path:
    return Path(os.environ["OPPORTUNE_BENCH_DIR"])


def _json(answer: Any) -> Response:
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, media_type="application/json")


def bare() -> FastAPI:
    """A body of the same shape is validated, a fixed answer is sent."""
    app = FastAPI()
    fixed = {"send_time": [0.123456] * WINDOW, "churn": 0.5, "content": [0.654321] * N_CANDIDATES}

    @app.post("/v1/score")
    async def score(asked: Asked) -> Response:
        return _json({"recipient_key": asked.recipient_key, **fixed})

    return app


def near_limit() -> FastAPI:
    """Model inputs lie ready as float32; one read, three runs of the same graphs, no policy."""
    import onnxruntime as ort  # noqa: PLC0415  only who asks pays for it

    from models.bundle import GRAPH  # noqa: PLC0415
    from models.registry import ModelFolder  # noqa: PLC0415
    from models.specs import SPECS  # noqa: PLC0415

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    models = ModelFolder(_folder() / "data" / "models")
    runs, inputs = [], []
    for spec in SPECS:
        champion = models.champion(spec.name)
        assert champion is not None
        graph = models.folder(spec.name, champion.version) / GRAPH
        session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        runs.append(session.run)
        inputs.append(session.get_inputs()[0].name)
    (week, risk, taste), (of_week, of_risk, of_taste) = runs, inputs
    n_week, n_risk = (len(spec.inputs) for spec in SPECS[:2])
    file = sqlite3.connect(f"file:{_folder() / ROWS}?mode=ro", uri=True)
    query = f"SELECT key, row FROM rows WHERE key IN (?{', ?' * N_CANDIDATES})"

    app = FastAPI()

    @app.post("/v1/score")
    async def score(asked: Asked) -> Response:
        items = [item.content_id for item in asked.candidates]
        found = dict(file.execute(query, (asked.recipient_key, *items)))
        person = np.frombuffer(found[asked.recipient_key], np.float32)
        rows = np.frombuffer(b"".join(found[item] for item in items), np.float32)
        own = person[n_week + n_risk :]
        shown = np.hstack([np.tile(own, (len(items), 1)), rows.reshape(len(items), -1)])
        return _json({
            "recipient_key": asked.recipient_key,
            "send_time": week(None, {of_week: person[None, :n_week]})[0][0, :WINDOW],
            "churn": risk(None, {of_risk: person[None, n_week : n_week + n_risk]})[0][0],
            "content": taste(None, {of_taste: shown})[0][:, 0],
        })  # fmt: skip

    return app


def feast_lightgbm() -> FastAPI:
    """Feast as its documentation has it and LightGBM's own prediction; items' inputs are given."""
    import features.feast_environment  # noqa: F401, PLC0415  before Feast

    # isort: split
    import lightgbm as lgb  # noqa: PLC0415
    from feast import FeatureStore  # noqa: PLC0415

    from features.definitions.recipient import VIEW  # noqa: PLC0415

    feast = FeatureStore(repo_path=str(_folder() / FEAST))
    booster = lgb.Booster(model_file=str(_folder() / TREES))
    names = [f"stock:{name}" for name in VIEW.names]

    app = FastAPI()

    @app.post("/v1/score")
    def score(asked: Asked) -> Response:
        row = {"recipient_key": asked.recipient_key}
        found = feast.get_online_features(features=names, entity_rows=[row]).to_dict()
        own = np.array([found[name] for name in VIEW.names], np.float32).T
        hours, items = np.tile(own, (WINDOW, 1)), np.tile(own, (len(asked.candidates), 1))
        told = [booster.predict(part, num_threads=1) for part in (hours, own, items)]
        names_of = ("send_time", "churn", "content")
        answer = dict(zip(names_of, told, strict=True))
        return _json({"recipient_key": asked.recipient_key, **answer})

    return app
