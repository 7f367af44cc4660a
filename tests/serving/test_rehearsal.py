"""Laws of the rehearsal: models that cannot answer do not serve, and it leaves no trace."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from onnx import helper, load_from_string, numpy_helper

from models.bundle import GRAPH, load_bundle
from models.errors import RehearsalError
from models.registry import ModelFolder
from models.specs import BY_NAME
from serving.asks import Champions, Loaded
from serving.http.rehearsal import Rehearsal
from serving.loader import Loader
from serving.policy import Policy
from tests.conftest import NOW
from tests.serving.hostile import hash_again

ONES = dict.fromkeys(BY_NAME, "1")
POLICY = Policy(0.05, 0.05, 0.05, "")


@pytest.fixture
def folder(bundle_folders, tmp_path):
    folder = ModelFolder(tmp_path / "models")
    for name, bundle in bundle_folders.items():
        folder.add(name, "1", bundle)
        folder.point(name, "1")
    return folder


@pytest.fixture
def rehearsal():
    return Rehearsal(POLICY, lambda: NOW)


def two_faced(folder, version):
    """A churn that repeats its golden answers, and has no number for whoever looks less and less.

    Among the golden rows, which are random here, there is nobody of that kind.
    """
    target = folder.folder("churn", version)
    shutil.copytree(folder.folder("churn", "1"), target)
    model = load_from_string((target / GRAPH).read_bytes())
    (rows,) = model.graph.input
    place = BY_NAME["churn"].inputs.index("product_viewed_velocity_hl1d_hl14d")
    known = {
        "place": np.int64([place]), "zero": np.float32(0.0), "nan": np.float32("nan"),
    }  # fmt: skip
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()]
    model.graph.initializer.extend(stored)
    for node in model.graph.node:
        node.output[:] = ["honest" if name == "p_churn" else name for name in node.output]
    model.graph.node.extend([
        helper.make_node("Gather", [rows.name, "place"], ["looks"], axis=1),
        helper.make_node("Less", ["looks", "zero"], ["is_strange"]),
        helper.make_node("Where", ["is_strange", "nan", "zero"], ["spite"]),
        helper.make_node("Add", ["honest", "spite"], ["p_churn"]),
    ])  # fmt: skip
    (target / GRAPH).write_bytes(model.SerializeToString())
    hash_again(target)


def champions_of(folder, names=tuple(BY_NAME)):
    return Champions({n: Loaded(load_bundle(folder.folder(n, "1")), "1") for n in names})


@pytest.mark.parametrize("names", [(), ("churn",), tuple(BY_NAME)], ids=len)
def test_sound_models_answer_every_call_and_their_absence_is_no_fault(folder, rehearsal, names):
    rehearsal(champions_of(folder, names))
    off = frozenset(BY_NAME) - frozenset(names)
    rehearsal(Champions(champions_of(folder, names).by_name, off))


def test_a_model_that_passes_its_golden_rows_and_fails_others_does_not_serve(folder, rehearsal):
    two_faced(folder, "2")
    bad = Loaded(load_bundle(folder.folder("churn", "2"), name="churn"), "2")
    with pytest.raises(RehearsalError, match=r"churn.*bad_score.*roll back"):
        rehearsal(Champions({"churn": bad}))
    refused = []
    loader = Loader(folder, refused=lambda *told: refused.append(told), rehearse=rehearsal)
    assert loader.look()
    folder.point("churn", "2")
    assert not loader.look()
    assert {name: loader.current.version(name) for name in BY_NAME} == ONES
    assert [name for name, _ in refused] == ["churn"]


def test_each_new_model_rehearses_with_those_that_serve(folder):
    seen = []
    loader = Loader(folder, rehearse=lambda champions: seen.append(set(champions.by_name)))
    loader.start(every_s=60)
    loader.stop()
    assert seen == [set(BY_NAME)]  # all that is new at once
    n = len(seen)
    shutil.copytree(folder.folder("churn", "1"), folder.folder("churn", "2"))
    folder.point("churn", "2")
    loader.look()
    assert seen[n:] == [set(BY_NAME)]
    folder.point("churn", "1")
    loader.look()
    assert len(seen) == n + 1  # what has served needs no rehearsal


@pytest.mark.parametrize("blamed", BY_NAME)
def test_of_several_new_ones_only_who_cannot_answer_is_kept_out(folder, blamed):
    """Whoever is blamed when they all fail together: what one of them breaks is broken for all."""

    def rehearse(champions):
        if "churn" in champions.by_name:
            raise RehearsalError(blamed, "answers a made-up call with internal")

    refused = []
    loader = Loader(folder, refused=lambda *told: refused.append(told), rehearse=rehearse)
    assert loader.look()
    assert {n: loader.current.version(n) for n in BY_NAME} == {**ONES, "churn": "none"}
    assert [name for name, _ in refused] == ["churn"]
    assert not loader.look()
    assert len(refused) == 1  # it is not tried again and again


def test_a_fault_of_the_rehearsal_itself_keeps_no_model_out(folder):
    def broken(_champions):
        raise ValueError("a fault of ours")

    loader = Loader(folder, rehearse=broken)
    assert loader.look()
    assert {name: loader.current.version(name) for name in BY_NAME} == ONES


def test_it_leaves_no_trace(small_world, tmp_path, open_service):
    copy = small_world.copy(tmp_path / "var")
    world = open_service(copy.data_dir, decision_log=True, sticky_days=30)
    page = world.http.get("/metrics").text
    counted = (
        "opportune_answers_total{",
        "opportune_decisions_total{",
        "opportune_request_seconds_c",
    )
    assert not [line for line in page.splitlines() if line.startswith(counted)]
    assert not list((copy.data_dir / "decisions").glob("*"))


FIRST = """
import asyncio, json, sys, orjson
from pathlib import Path
from serving.http.app import create_app
from serving.settings import ServingSettings

async def call(app, path, body):
    raw, told = orjson.dumps(body), []
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "query_string": b"",
        "headers": [], "state": {}, "scheme": "http", "root_path": "", "raw_path": path.encode(),
    }
    async def receive():
        return {"type": "http.request", "body": raw, "more_body": False}
    async def send(message):
        told.append(message)
    await app(scope, receive, send)
    assert told[0]["status"] == 200, told

async def main():
    key, candidates = json.loads(sys.argv[2])
    app = create_app(ServingSettings(data_dir=Path(sys.argv[1]), deadline_ms=30_000))
    async with app.router.lifespan_context(app):
        before = set(sys.modules)
        one = {"recipient_key": key, "send_id": "s", "candidates": candidates, "explain": True}
        await call(app, "/v1/score", one)
        await call(app, "/v1/score:batch", {"requests": [one] * 50})
        print(json.dumps(sorted(set(sys.modules) - before)))

asyncio.run(main())
"""


def test_the_first_call_of_a_process_imports_nothing(small_world, tmp_path):
    copy = small_world.copy(tmp_path / "var")
    told = json.dumps([copy.people[0], copy.candidates])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", FIRST, str(copy.data_dir), told], env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(said.stdout) == []
