"""Laws of shadows: what they would have said is told exactly, and no answer knows of them."""

import shutil
import sys
import time
from datetime import UTC, datetime

import httpx2
import numpy as np
import pytest
from typer.testing import CliRunner

from features.assemble import matrix
from features.definitions.recipient import VIEW
from features.events.schema import SECOND_US
from features.packed import PackedStore
from features.packing import unpack
from features.reading import read
from models.bundle import GRAPH, load_bundle
from models.registry import ModelFolder
from models.specs import churn
from pipelines.cli import app
from serving.asks import Ask, Champions, Loaded
from serving.decider import Decider, Fixed
from serving.divergence import ROWS, Divergence
from serving.policy import band
from serving.scorer import RECIPIENT_LAYOUT
from serving.shadow import ROOM, Shadow
from tests.serving.conftest import starting

N = 40
NOISE = 5e-7  # of float32 graphs asked for ten rows or for all
MODEL = "churn"


@pytest.fixture(scope="module")
def copied(small_world, tmp_path_factory):
    return small_world.copy(tmp_path_factory.mktemp("shadow") / "var")


@pytest.fixture(scope="module")
def folder(copied):
    return ModelFolder(copied.data_dir / "models")


@pytest.fixture(scope="module")
def service(copied):
    as_of = datetime.fromtimestamp(copied.now / SECOND_US, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    main = "from pipelines.cli import main; main()"
    command = [sys.executable, "-c", main, "serve", "--as-of", as_of]
    with starting() as start:
        yield start(
            copied.data_dir, command=command, OPPORTUNE_POLL_S="0.02",
            OPPORTUNE_SHADOW_SHARE="1", OPPORTUNE_STICKY_DAYS="0",
        )  # fmt: skip


def soon(asked):
    until = time.monotonic() + 20
    while not (found := asked()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def told(service, name=MODEL):
    models = httpx2.get(f"{service.url}/v1/models").json()["models"]
    return next(one["shadow"] for one in models if one["name"] == name)


def answers(service, world):
    bodies = [{"recipient_key": k, "candidates": world.candidates} for k in world.people[:N]]
    return [service.post("/v1/score", body).content for body in bodies]


def compared(service, version, world):
    soon(lambda: told(service)["version"] == version)
    before = told(service)["n"]
    found = answers(service, world)
    soon(lambda: told(service)["n"] == before + N)
    return found


def run(copied, monkeypatch, *words):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(copied.data_dir))
    done = CliRunner().invoke(app, ["shadow", *words])
    assert done.exit_code == 0, done.output
    return done.output


def directly(copied, folder, version):
    """What a version says of the recipients, by its graph alone."""
    with PackedStore(copied.data_dir / "online.sqlite") as store:
        blobs = store.get(VIEW.entity, copied.people[:N])
    states = [unpack(blob, RECIPIENT_LAYOUT) for blob in blobs]
    rows = matrix(read(states, copied.now, RECIPIENT_LAYOUT), VIEW)
    places = [VIEW.names.index(name) for name in churn.SPEC.inputs]
    bundle = load_bundle(folder.folder(MODEL, version))
    return bundle.session.run(np.ascontiguousarray(rows[:, places]))["p_churn"][:, 0].astype(float)


def test_the_figures_are_those_of_both_graphs_and_the_answers_stay(
    copied, folder, service, monkeypatch
):
    without = answers(service, copied)
    shutil.copytree(folder.folder(MODEL, "1"), folder.folder(MODEL, "twin"))
    run(copied, monkeypatch, MODEL, "twin")
    assert compared(service, "twin", copied) == without
    twin = told(service)
    assert [twin[k] for k in ("mean", "most", "low", "middle", "high", "otherwise")] == [0.0] * 6
    assert twin["rank_correlation"] == 1.0

    run(copied, monkeypatch, MODEL, "2")  # from the registry
    assert compared(service, "2", copied) == without
    other = told(service)
    ours, theirs = directly(copied, folder, "1"), directly(copied, folder, "2")
    apart = theirs - ours
    assert other["n"] == N
    assert other["mean"] == pytest.approx(np.abs(apart).mean(), abs=NOISE)
    assert other["most"] == pytest.approx(np.abs(apart).max(), abs=NOISE)
    assert other["most"] > 1e-4
    quantiles = [other[k] for k in ("low", "middle", "high")]
    assert quantiles == pytest.approx(np.quantile(apart, (0.05, 0.5, 0.95)), abs=NOISE)
    ranks = [np.argsort(np.argsort(column)) for column in (ours, theirs)]
    if len(set(ours)) == len(set(theirs)) == N:
        assert other["rank_correlation"] == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-3)
    otherwise = [band(a, "") != band(b, "") for a, b in zip(ours, theirs, strict=True)]
    assert other["otherwise"] == pytest.approx(np.mean(otherwise))
    assert other["latency_ratio"] > 0.1
    shown = run(copied, monkeypatch, "--report", "--url", service.url)
    assert "churn" in shown
    page = httpx2.get(f"{service.url}/metrics").text
    counted = f'opportune_shadow_recipients_total{{model="churn",outcome="compared"}} {2.0 * N}'
    assert counted in page

    shutil.copytree(folder.folder(MODEL, "1"), folder.folder(MODEL, "torn"))
    (folder.folder(MODEL, "torn") / GRAPH).write_bytes(b"")
    folder.begin_shadow(MODEL, "torn")
    soon(lambda: "opportune_bundles_refused_total" in httpx2.get(f"{service.url}/metrics").text)
    soon(lambda: told(service)["version"] == "none")
    assert answers(service, copied) == without
    run(copied, monkeypatch, "--stop", MODEL)
    assert answers(service, copied) == without


class Counted(dict):
    def count_shadow(self, model, outcome, n):
        self[model, outcome] = self.get((model, outcome), 0) + n


class Models:
    def __init__(self, current, shadows):
        self.current, self.shadows = current, shadows


@pytest.fixture
def beside(copied, folder):
    """A shadow of churn, without its thread: the test flushes."""

    def made(challenger, *, share=1.0):
        champions = Champions({MODEL: Loaded(load_bundle(folder.folder(MODEL, "1")), "1")})
        counted = Counted()
        store = PackedStore(copied.data_dir / "online.sqlite")
        models = Models(champions, {MODEL: challenger or champions.by_name[MODEL]})
        decider = Decider(store, Fixed(champions))
        return Shadow(decider, models, counted, share=share, salt="s"), counted

    return made


def test_a_challenger_that_raises_is_counted_and_nothing_else(beside, copied):
    shadow, counted = beside(Loaded(None, "9"))  # no bundle: whatever is asked of it raises
    shadow.offer([Ask(key) for key in copied.people[:5]], now=copied.now)
    shadow._flush()
    assert counted == {(MODEL, "failed"): 5}
    assert shadow.told(MODEL)[1].n == 0


def test_what_finds_no_room_is_lost_and_counted(beside, copied):
    shadow, counted = beside(None)
    shadow.offer([Ask(copied.people[0])] * (ROOM + 7), now=copied.now)
    assert counted == {(MODEL, "lost"): 7}
    assert len(shadow._waiting) == ROOM


def test_a_share_of_the_recipients_is_scored_and_always_the_same(beside, copied):
    people = [f"r{n}" for n in range(2_000)]
    shadow, _ = beside(None, share=0.1)
    chosen = {key for key in people if shadow._is_chosen(key)}
    assert 140 <= len(chosen) <= 260
    again, _ = beside(None, share=0.2)
    assert chosen < {key for key in people if again._is_chosen(key)}
    none, _ = beside(None, share=0.0)
    none.offer([Ask(people[0])], now=copied.now)
    assert not none._waiting


def test_the_figures_need_no_more_memory_for_more_rows():
    rng = np.random.default_rng(1)
    ours, theirs = rng.random((2, 3 * ROWS + 11))
    found = Divergence()
    for part in np.array_split(np.arange(len(ours)), 700):
        found.add(ours[part], theirs[part], otherwise=1)
    whole = found.told()
    assert whole.n == len(ours)
    assert whole.mean == pytest.approx(np.abs(theirs - ours).mean())
    newest = (theirs - ours)[-ROWS:]
    assert whole.middle == pytest.approx(np.median(newest))
    assert found._pairs.shape == (ROWS, 2)
