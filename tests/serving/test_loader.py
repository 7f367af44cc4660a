"""Laws of the champions in memory: swapped warm, always whole, the last good one stays."""

import shutil
import sys
import threading
from datetime import UTC, datetime

import httpx2
import pytest

from features.candidates import Candidate
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.schema import SECOND_US
from features.layout import POOL
from features.packed import PackedStore
from features.packing import unpack
from models.bundle import GOLDEN, GRAPH, MANIFEST, load_bundle
from models.mlflow_registry import MlflowRegistry
from models.registry import POINTER, ModelFolder
from models.specs import SPECS, churn
from pipelines.promote import promote
from serving.asks import Ask, Champions, Loaded
from serving.fallback import FallbackReason
from serving.items import CONTENT_LAYOUT, items_of
from serving.known import Known
from serving.loader import Loader
from serving.scorer import RECIPIENT_LAYOUT, predict

FLIPS = 20
CLIENTS = 8


@pytest.fixture
def folder(small_world, tmp_path):
    """The world's champions on disk, with version 2 of two models beside them."""
    copy = small_world.copy(tmp_path / "var")
    registry = MlflowRegistry(f"sqlite:///{copy.data_dir / 'mlflow.db'}")
    folder = ModelFolder(copy.data_dir / "models")
    for name in ("send_time", "churn"):
        promote(name, "2", registry=registry, folder=folder)
        folder.point(name, "1")
    return folder


@pytest.fixture
def refused():
    return []


@pytest.fixture
def loader(folder, refused):
    loader = Loader(folder, refused=lambda name, why: refused.append((name, why)))
    assert loader.look() is True
    assert loader.look() is False
    return loader


def versions(loader):
    return {spec.name: loader.current.version(spec.name) for spec in SPECS}


SPEC_PRIOR = churn.SPEC.prior
ONES = dict.fromkeys((spec.name for spec in SPECS), "1")


def test_a_promotion_is_taken_and_the_others_stay_the_same_objects(folder, loader):
    before = loader.current.by_name
    folder.point("churn", "2")
    assert loader.look() is True
    assert versions(loader) == ONES | {"churn": "2"}
    assert loader.current.by_name["send_time"] is before["send_time"]
    assert before["churn"].version == "1"  # what was handed out does not change


def graph_flipped(bundle):
    graph = bytearray((bundle / GRAPH).read_bytes())
    graph[len(graph) // 2] ^= 0xFF
    (bundle / GRAPH).write_bytes(graph)


DAMAGES = {
    "flipped": graph_flipped,
    "cut": lambda bundle: (bundle / GRAPH).write_bytes((bundle / GRAPH).read_bytes()[:100]),
    "no graph": lambda bundle: (bundle / GRAPH).unlink(),
    "no golden": lambda bundle: (bundle / GOLDEN).unlink(),
    "no manifest": lambda bundle: (bundle / MANIFEST).unlink(),
    "garbage manifest": lambda bundle: (bundle / MANIFEST).write_bytes(b"\xff\x00{"),
    "empty": lambda bundle: [file.unlink() for file in bundle.iterdir()],
    "gone": shutil.rmtree,
    "a link": lambda bundle: (
        (bundle / GRAPH).rename(bundle.parent / "elsewhere"),
        (bundle / GRAPH).symlink_to(bundle.parent / "elsewhere"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_bundle_leaves_the_old_in_place_and_is_counted_once(
    folder, loader, refused, damage
):
    shutil.copytree(folder.folder("churn", "2"), folder.folder("churn", "9"))
    folder.point("churn", "9")
    damage(folder.folder("churn", "9"))
    for _ in range(3):
        assert loader.look() is False
    assert versions(loader) == ONES
    assert [name for name, _ in refused] == ["churn"]
    folder.point("send_time", "2")  # the damaged one is in nobody's way
    assert loader.look() is True
    folder.point("churn", "2")
    assert loader.look() is True
    assert versions(loader) == ONES | {"send_time": "2", "churn": "2"}


def test_a_bundle_of_another_model_is_refused(folder, loader, refused):
    shutil.copytree(folder.folder("send_time", "2"), folder.folder("churn", "9"))
    folder.point("churn", "9")
    assert loader.look() is False
    assert versions(loader) == ONES
    assert "send_time" in refused[0][1]


@pytest.mark.parametrize(
    "text", [None, b"", b"{", b"[]", b"7", b'{"version": "../2"}', b'{"version": "77"}', b"\xff"]
)
def test_a_pointer_that_is_gone_or_garbage_keeps_the_champion(folder, loader, text):
    pointer = folder.root / "churn" / POINTER
    pointer.unlink()
    if text is not None:
        pointer.write_bytes(text)
    assert loader.look() is False
    assert versions(loader) == ONES
    fresh = Loader(folder)
    fresh.look()
    assert versions(fresh) == ONES | {"churn": "none"}


def test_a_surprise_while_starting_does_not_keep_the_service_from_starting(folder):
    def surprise():
        raise RuntimeError("a fault of ours")

    loader = Loader(folder, follow=surprise)
    loader.start(every_s=60)
    loader.stop()


def test_a_running_service_takes_a_promotion_and_counts_a_refusal(
    folder, small_world, open_service, eventually
):
    world = open_service(folder.root.parent, poll_s=0.05)
    key = small_world.people[0]
    assert world.score(key)["models"] == ONES
    folder.point("churn", "2")
    eventually(lambda: world.score(key)["models"]["churn"] == "2")
    shutil.copytree(folder.folder("churn", "1"), folder.folder("churn", "9"))
    graph_flipped(folder.folder("churn", "9"))
    folder.point("churn", "9")
    counted = 'opportune_bundles_refused_total{model="churn"} 1.0'
    eventually(lambda: counted in world.http.get("/metrics").text)
    assert world.score(key)["models"]["churn"] == "2"
    page = world.http.get("/metrics").text
    assert 'model_loaded{model="churn",version="2"} 1.0' in page
    assert 'model_loaded{model="churn",version="1"}' not in page


def offline(folder, world, keys):
    """What each version says of each recipient, without the service."""
    items = tuple(Candidate(c["content_id"], tuple(c["topics"])) for c in world.candidates)
    with PackedStore(folder.root.parent / "online.sqlite") as store:
        people = [unpack(b, RECIPIENT_LAYOUT) for b in store.get(RECIPIENT.entity, keys)]
        ids = [POOL, *(item.content_id for item in items)]
        known = {
            item: unpack(b, CONTENT_LAYOUT)
            for item, b in zip(ids, store.get(CONTENT.entity, ids), strict=True)
            if b is not None
        }
    asks = [Ask(key, timezone="UTC", candidates=items) for key in keys]
    trouble = [FallbackReason.NONE] * len(keys)
    said = {}
    for version in ("1", "2"):
        champions = Champions({
            name: Loaded(load_bundle(folder.folder(name, version)), version)
            for name in ("send_time", "churn")
        })  # fmt: skip
        found = predict(asks, Known(people, items_of(known), trouble), champions, at=world.now)
        for key, prediction in zip(keys, found, strict=True):
            said["churn", version, key] = prediction.p_churn
            said["send_time", version, key] = prediction.p_engage
    return said


def test_no_answer_mixes_versions_while_champions_flip_under_load(
    folder, small_world, start_process, eventually
):
    keys = small_world.people[:CLIENTS]
    said = offline(folder, small_world, keys)
    assert all(abs(said["churn", "1", k] - said["churn", "2", k]) > 1e-5 for k in keys)
    moment = datetime.fromtimestamp(small_world.now / SECOND_US, UTC)
    main = "from pipelines.cli import main; main()"
    as_of = moment.strftime("%Y-%m-%dT%H:%M:%S")
    service = start_process(
        folder.root.parent,
        command=[sys.executable, "-c", main, "serve", "--as-of", as_of],
        OPPORTUNE_POLL_S="0.02",
    )
    answers, stop = [], threading.Event()

    def ask(key):
        body = {"recipient_key": key, "timezone": "UTC"}
        with httpx2.Client(timeout=30) as http:
            while not stop.is_set():
                answers.append(http.post(f"{service.url}/v1/score", json=body))

    clients = [threading.Thread(target=ask, args=(key,)) for key in keys]
    for client in clients:
        client.start()
    promoted = {("1", "1")}
    now = {"send_time": "1", "churn": "1"}
    try:
        for flip in range(FLIPS):
            name = ("send_time", "churn")[flip % 2]
            now[name] = "2" if now[name] == "1" else "1"
            promoted.add((now["send_time"], now["churn"]))
            folder.point(name, now[name])
            wanted = now | {"content_preference": "1"}
            eventually(lambda: service.score(keys[0])["models"] == wanted)  # noqa: B023
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    assert len(answers) > FLIPS * 5
    seen = set()
    for answer in answers:
        assert answer.status_code == 200
        told = answer.json()
        assert told["fallback"]["reason"] == "none"
        models, key = told["models"], told["recipient_key"]
        seen.add((models["send_time"], models["churn"]))
        expected = said["churn", models["churn"], key]
        assert told["churn"]["p_churn"] == pytest.approx(expected, abs=1.1e-6)
        week = said["send_time", models["send_time"], key]
        for slot in told["send_time"]["slots"]:
            at = datetime.fromtimestamp(slot["at_epoch"], UTC)
            assert slot["p"] == pytest.approx(week[at.weekday() * 24 + at.hour], abs=1.1e-6)
    assert seen <= promoted
    assert len(seen) == 4


def test_a_rollback_needs_no_bundle_on_disk_any_more(folder, loader):
    """What served before is at hand, whole, whatever has become of its files."""
    first = loader.current.by_name["churn"]
    folder.point("churn", "2")
    assert loader.look()
    for file in folder.folder("churn", "1").iterdir():
        file.write_bytes(b"")
    folder.point("churn", "1")
    assert loader.look()
    assert loader.current.by_name["churn"] is first


def test_a_model_that_is_switched_off_answers_no_longer_and_the_others_go_on(folder, loader):
    folder.switch_off("churn", "scores everybody 0.9")
    assert loader.look()
    assert versions(loader) == ONES | {"churn": "none"}
    assert loader.current.why_not("churn") is FallbackReason.SWITCHED_OFF
    assert loader.current.why_not("send_time") is FallbackReason.NO_MODEL
    assert not loader.look()
    folder.point("churn", "2")
    assert not loader.look()
    folder.switch_on("churn")
    folder.switch_on("churn")  # safe to repeat
    assert loader.look()
    assert versions(loader) == ONES | {"churn": "2"}


def test_a_running_service_follows_a_switch_and_a_rollback_though_the_registry_is_slow(
    folder, small_world, open_service, eventually
):
    """Following takes a minute here; the folder is looked at all the same."""
    world = open_service(folder.root.parent, poll_s=60)
    key = small_world.people[0]
    folder.switch_off("churn", "")
    told = eventually(
        lambda: next(
            (
                answer
                for answer in [world.score(key)]
                if answer["fallback"]["parts"]["churn"] == "switched_off"
            ),
            None,
        )
    )
    assert told["models"]["churn"] == "none"
    assert told["fallback"]["parts"]["send_time"] == "none"
    assert told["churn"]["p_churn"] == pytest.approx(SPEC_PRIOR)
    folder.switch_on("churn")
    eventually(lambda: world.score(key)["models"]["churn"] == "1")
