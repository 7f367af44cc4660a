"""What `bench_serving` and the services beside ours read: made once, in one folder.

data/           our data directory: log, states, two versions of two models
rows.sqlite     ready model inputs, for the service near the limit
feast/          a stock Feast repository with a float a feature
signed/ plain/  a LightGBM model for `mlflow models serve`, with a signature and without
"""

import os
import sqlite3
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from features.assemble import matrix, rhythm
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import DAY_US
from features.layout import POOL, layout_of
from features.packed import PackedStore
from features.packed_rows import head_of
from features.packing import unpack
from features.reading import read
from models.mlflow_registry import MlflowRegistry
from models.registry import ModelFolder
from models.specs import churn, content_preference, send_time
from pipelines.promote import promote
from tests.benchmarks.bench_packed import stock
from tests.benchmarks.peers import FEAST, N_CANDIDATES, ROWS, TREES, WINDOW
from tests.conftest import make_world

N_BODIES: Final = 997  # a prime: no recipient meets a cache because of a round number
N_FEAST: Final = 2_000  # Feast loads some hundred recipients a second, and reads by key


@dataclass(frozen=True)
class Filled:
    """The folder and the bodies of calls; `people` have states, liveliest first."""

    folder: Path
    people: list[str]
    scores: list[bytes]
    batches: list[bytes]
    frames: list[bytes]
    inputs: list[bytes]
    lookups: list[bytes]

    @property
    def models(self) -> ModelFolder:
        return ModelFolder(self.folder / "data" / "models")


def fill(folder: Path, *, n_recipients: int, batch: int) -> Filled:
    """Make the world, train its models, and repeat its people under other keys."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    now = int(time.time()) * 1_000_000 // DAY_US * DAY_US
    told = make_world(folder / "data", now=now)
    models = ModelFolder(folder / "data" / "models")
    registry = MlflowRegistry(f"sqlite:///{folder / 'data' / 'mlflow.db'}")
    promote("churn", "2", registry=registry, folder=models)
    models.point("churn", "1")
    candidates = [{"content_id": i, "topics": t} for i, t in told["items"].items()]
    candidates = candidates[:N_CANDIDATES]
    rows = _repeat(folder, told["people"], n_recipients, candidates, now)
    keys = [f"b{i * (n_recipients // N_BODIES)}" for i in range(N_BODIES)]
    asked = [
        {"recipient_key": key, "timezone": "Europe/Berlin", "candidates": candidates}
        for key in keys
    ]
    parts = [[asked[(start + i) % N_BODIES] for i in range(batch)] for start in range(0, 900, 90)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's and MLflow's deprecations are not ours to fix
        _peers(folder, rows, keys)
    few = [rows[i % len(rows) : i % len(rows) + 1].repeat(WINDOW, 0) for i in range(20)]
    columns = list(RECIPIENT.names)
    frames = [{"dataframe_split": {"columns": columns, "data": _plain(part)}} for part in few]
    names = [f"stock:{name}" for name in RECIPIENT.names]
    return Filled(
        folder,
        told["people"],
        scores=_dumped(asked),
        batches=_dumped([{"requests": part} for part in parts]),
        frames=_dumped(frames),
        inputs=_dumped([{"inputs": _plain(part)} for part in few]),
        lookups=_dumped(
            [{"features": names, "entities": {"recipient_key": [key]}} for key in keys]
        ),
    )


def _dumped(bodies: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(body) for body in bodies]


def _plain(rows: np.ndarray) -> list[list[float]]:
    """MLflow refuses a null where there is no signature."""
    return [[round(float(v), 6) for v in row] for row in np.nan_to_num(rows)]


def _repeat(
    folder: Path, people: list[str], n: int, candidates: list[dict[str, Any]], now: int
) -> np.ndarray:
    """States under the keys b0, b1, ... and ready inputs beside them; the people's features."""
    layout = layout_of(RECIPIENT)
    with PackedStore(folder / "data" / "online.sqlite") as store:
        blobs = [blob for blob in store.get(RECIPIENT.entity, people) if blob is not None]
        items = [one["content_id"] for one in candidates]
        shown = store.get(CONTENT.entity, [POOL, *items])
        for start in range(0, n, 10_000):
            some = range(start, min(start + 10_000, n))
            found = ((f"b{i}", blobs[i % len(blobs)]) for i in some)
            store.put(RECIPIENT.entity, ((key, *head_of(blob), blob) for key, blob in found))
    reading = read([unpack(blob, layout) for blob in blobs], now, layout)
    rows, weeks = matrix(reading, RECIPIENT), rhythm(reading, layout)
    place = {name: number for number, name in enumerate(RECIPIENT.names)}
    flags = np.zeros((len(rows), 2), np.float32)
    level, risk, taste = (
        rows[:, [place[name] for name in names]]
        for names in (send_time.LEVEL, churn.SPEC.inputs, content_preference.RECIPIENT_INPUTS)
    )
    ready = np.hstack([weeks, level, flags, risk, taste]).astype(np.float32)
    states = [None if blob is None else unpack(blob, layout_of(CONTENT)) for blob in shown]
    whole, *single = (read([state], now, layout_of(CONTENT)) for state in states)
    known = np.zeros((1, len(content_preference.AFFINITY_INPUTS)), np.float32)
    cohort = np.full((1, len(content_preference.COHORT_INPUTS)), np.nan, np.float32)
    inputs = [np.hstack([known, cohort, matrix(one, CONTENT, whole)]) for one in single]
    with sqlite3.connect(folder / ROWS) as file:
        file.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, row BLOB) WITHOUT ROWID")
        of_people = ((f"b{i}", ready[i % len(ready)].tobytes()) for i in range(n))
        file.executemany("INSERT INTO rows VALUES (?, ?)", of_people)
        of_items = ((item, row.tobytes()) for item, row in zip(items, inputs, strict=True))
        file.executemany("INSERT INTO rows VALUES (?, ?)", of_items)
    return rows


def _peers(folder: Path, rows: np.ndarray, keys: list[str]) -> None:
    """A booster for both of MLflow's, and Feast's store."""
    import lightgbm as lgb  # noqa: PLC0415  only this bench needs them
    import mlflow  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    rng = np.random.default_rng(1)
    many = rows[rng.integers(0, len(rows), 4_000)]
    taught = lgb.Dataset(many, (np.nan_to_num(many[:, 0]) + rng.normal(size=4_000) > 1).astype(int))
    how = {"objective": "binary", "num_leaves": 15, "verbosity": -1, "num_threads": 1}
    booster = lgb.train(how, taught, num_boost_round=100)
    booster.save_model(folder / TREES)
    frame = pd.DataFrame(np.nan_to_num(many[:50]).astype(float), columns=list(RECIPIENT.names))
    signature = mlflow.models.infer_signature(frame, booster.predict(frame))
    for name, signed in (("signed", signature), ("plain", None)):
        mlflow.lightgbm.save_model(
            booster, str(folder / name), signature=signed, pip_requirements=["lightgbm"]
        )
    more = [f"b{i}" for i in range(N_FEAST) if f"b{i}" not in set(keys)]
    online = f"type: sqlite\n  path: {folder / 'feast.sqlite'}"
    stock(folder / FEAST, online, [*keys, *more], rows)
