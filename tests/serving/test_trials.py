"""Laws of trials: what a graph does to its process it does not do to the service."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from models.bundle import GRAPH, MANIFEST, digest_of
from models.errors import BundleCorruptError, ModelError, TrialError
from models.registry import ModelFolder
from models.specs import SPECS, churn
from serving.loader import Loader
from serving.trial import Tried, trial
from serving.trials import FOLDER, Trials
from tests.serving.hostile import greedy, hanging, put_graph

ONES = dict.fromkeys((spec.name for spec in SPECS), "1")
LIMIT_S = 6.0  # a sound one may take over two on a busy machine


@pytest.fixture
def folder(bundle_folders, tmp_path):
    """Champions of every model, and a version 2 of churn."""
    folder = ModelFolder(tmp_path / "models")
    for name, bundle in bundle_folders.items():
        folder.add(name, "1", bundle)
        folder.point(name, "1")
    other = put_graph(folder.folder("churn", "1"), folder.folder("churn", "2"), b"")
    sound = (folder.folder("churn", "1") / GRAPH).read_bytes()
    (other / GRAPH).write_bytes(sound)
    text = (folder.folder("churn", "1") / MANIFEST).read_text()
    (other / MANIFEST).write_text(text.replace('"label": "random"', '"label": "another"'))
    assert digest_of(other) != digest_of(folder.folder("churn", "1"))
    return folder


def bad(folder, version, graph):
    put_graph(folder.folder("churn", "1"), folder.folder("churn", version), graph)


def versions(loader):
    return {spec.name: loader.current.version(spec.name) for spec in SPECS}


def counted_judge(held):
    def judge(bundles, **limit):
        held.append([one.name for one in bundles])
        trial(bundles, **limit)

    return judge


def soon(asked):
    until = time.monotonic() + 20
    while not (found := asked()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def tried(folder, version, **more):
    bundle = folder.folder("churn", version)
    trial([Tried(bundle, "churn", digest_of(bundle))], **more)


def test_a_sound_bundle_passes(bundle_folders):
    for name, bundle in bundle_folders.items():
        trial([Tried(bundle, name, digest_of(bundle))])


def children():
    """Trials of this process; the fixtures of other tests have children too."""
    found = []
    for one in psutil.Process().children():
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # it has just ended
            found += [one] * ("serving.trial" in one.cmdline())
    return found


def test_each_way_to_fail_is_named(folder):
    bad(folder, "8", hanging(churn.SPEC))
    began = time.monotonic()
    with pytest.raises(TrialError, match=r"took longer than 1 s.*roll back"):
        tried(folder, "8", limit_s=1)
    assert time.monotonic() - began < 3
    bad(folder, "9", greedy(churn.SPEC))
    with pytest.raises(ModelError, match="Failed to allocate"):
        tried(folder, "9")
    (folder.folder("churn", "2") / GRAPH).write_bytes(b"")
    with pytest.raises(BundleCorruptError, match="sha256"):
        tried(folder, "2")
    bundle = folder.folder("churn", "1")
    with pytest.raises(BundleCorruptError, match="has changed"):
        trial([Tried(bundle, "churn", "0" * 64)])
    assert children() == []


def test_a_crash_is_the_childs(folder):
    """From outside: a signal is what a graph that breaks the runtime ends in."""
    bad(folder, "8", hanging(churn.SPEC))
    found = []

    def judged():
        with pytest.raises(TrialError) as caught:
            tried(folder, "8")
        found.append(str(caught.value))

    thread = threading.Thread(target=judged)
    thread.start()
    (child,) = soon(children)
    soon(lambda: child.cpu_times().user > 0.1)
    os.kill(child.pid, signal.SIGSEGV)
    thread.join()
    assert f"crashed with signal {signal.SIGSEGV.value}" in found[0]


def test_the_child_sees_no_secret_and_imports_no_training_stack(tmp_path):
    """And nothing that lies in the folder it is started in."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    script = (
        "import os, sys, pathlib; from serving.trial import _environment;"
        "print(sorted(n for n in _environment() if n.startswith('OPPORTUNE')));"
        "import serving.trial;"
        "print([n for n in ('onnx', 'mlflow', 'fastapi', 'polars', 'sklearn') if n in sys.modules])"
    )
    environment = {**os.environ, "OPPORTUNE_KEY_SECRET": "s"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    said = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split("\n")[:2] == ["[]", "[]"]


def test_a_bundle_is_tried_once_for_every_process_and_restart(folder):
    held: list[list[str]] = []
    for _ in range(2):
        loader = Loader(folder, trials=Trials(folder.root, judge=counted_judge(held)))
        loader.start(every_s=60)
        loader.stop()
        assert versions(loader) == ONES
    assert held == [list(ONES)]
    notes = [note.name for note in (folder.root / FOLDER).rglob("*") if note.is_file()]
    assert sorted(notes) == sorted(digest_of(folder.folder(name, "1")) for name in ONES)


def test_of_several_new_ones_in_one_child_only_who_is_at_fault_is_kept_out(folder):
    bad(folder, "8", greedy(churn.SPEC))
    folder.point("churn", "8")
    held: list[list[str]] = []
    refused = []
    trials = Trials(folder.root, judge=counted_judge(held))
    loader = Loader(folder, refused=lambda *told: refused.append(told), trials=trials)
    loader.start(every_s=60)
    loader.stop()
    assert versions(loader) == ONES | {"churn": "none"}
    assert held[0] == list(ONES)
    assert sorted(held[1:]) == sorted([name] for name in ONES)
    assert [name for name, _ in refused] == ["churn"]
    assert "Failed to allocate" in refused[0][1]


def test_processes_that_find_a_bundle_at_once_hold_one_trial(folder):
    held: list[list[str]] = []
    judges = [Trials(folder.root, judge=counted_judge(held)) for _ in range(3)]
    bundle = folder.folder("churn", "1")
    for trials in judges:
        assert not trials.has_passed(bundle, "churn", digest_of(bundle))
    for trials in judges:
        trials.settle()
        assert trials.has_passed(bundle, "churn", digest_of(bundle))
    assert held == [["churn"]]


def test_processes_that_start_at_once_try_what_is_new_once(folder):
    held: list[list[str]] = []
    bundles = [folder.folder(name, "1") for name in ONES]
    new = [
        Tried(bundle, name, digest_of(bundle)) for name, bundle in zip(ONES, bundles, strict=True)
    ]
    judges = [Trials(folder.root, judge=counted_judge(held)) for _ in range(3)]
    threads = [threading.Thread(target=one.together, args=(new,)) for one in judges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held == [list(ONES)]
    assert all(judge.has_passed(*one) for judge in judges for one in new)


def test_notes_that_cannot_be_written_cost_a_trial_for_each_process_and_no_more(folder):
    (folder.root / FOLDER).write_text("in the way")
    held: list[list[str]] = []
    loader = Loader(folder, trials=Trials(folder.root, judge=counted_judge(held)))
    loader.start(every_s=60)
    loader.stop()
    loader.look()
    assert versions(loader) == ONES
    assert held == [list(ONES)]


def test_nobody_waits_for_a_trial(folder):
    """While one bundle hangs, another model is promoted, rolled back and switched off."""
    refused = []
    trials = Trials(folder.root, judge=lambda bundles, **_: trial(bundles, limit_s=LIMIT_S))
    loader = Loader(folder, refused=lambda *told: refused.append(told), trials=trials)
    loader.start(every_s=60)
    loader.stop()
    folder.point("churn", "2")
    loader.look()
    trials.settle()
    assert loader.look()
    bad(folder, "8", hanging(churn.SPEC))
    folder.point("churn", "8")
    began = time.monotonic()
    assert not loader.look()
    folder.switch_off("send_time", "")
    assert loader.look()
    folder.switch_on("send_time")
    folder.point("churn", "1")  # a rollback, to what is at hand
    assert loader.look()
    assert versions(loader) == ONES
    assert time.monotonic() - began < 1.0
    folder.point("churn", "8")
    assert not loader.look()
    trials.settle()
    assert not loader.look()
    assert not loader.look()
    assert versions(loader) == ONES
    assert [name for name, _ in refused] == ["churn"]
    assert f"took longer than {LIMIT_S:g} s" in refused[0][1]


def test_what_was_changed_after_its_trial_is_not_loaded(folder):
    passed = Trials(folder.root, judge=lambda *_, **__: None)  # by a judge who sees no fault
    loader = Loader(folder, trials=passed)
    loader.look()
    passed.settle()
    (folder.folder("churn", "1") / GRAPH).write_bytes(b"")
    loader.look()
    assert versions(loader) == ONES | {"churn": "none"}


def test_a_child_whose_parent_was_killed_ends_in_time_and_leaves_no_core(folder):
    script = (
        "import resource as r; from serving.trial import _bound;"
        "r.setrlimit(r.RLIMIT_CPU, (7, 7)); _bound();"  # what is stricter already stays
        "print(r.getrlimit(r.RLIMIT_CPU)[0], r.getrlimit(r.RLIMIT_CORE)[0])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=Path(folder.root),
    )  # fmt: skip
    assert said.stdout.split() == ["7", "0"]
