"""Laws of the folder that serving reads, and of the specs: one pointer, versions for ever."""

import json
import pkgutil
import re
import shutil
import threading

import pytest

from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from models import specs
from models.bundle import GRAPH, MANIFEST, load_bundle
from models.errors import BundleCorruptError, BundleMismatchError, VersionUnknownError
from models.registry import POINTER, Champion, ModelFolder
from models.spec import RHYTHM_NAMES
from models.specs import BY_NAME, SPECS


@pytest.fixture
def models(tmp_path) -> ModelFolder:
    return ModelFolder(tmp_path / "models")


@pytest.fixture
def churn(bundle_folders):
    return bundle_folders["churn"]


def test_there_is_no_champion_before_one_is_named(models, churn):
    assert models.champion("churn") is None
    models.add("churn", "1", churn)
    assert models.champion("churn") is None


def test_pointing_moves_the_champion_and_remembers_the_one_before(models, churn):
    for version in ("1", "2", "3"):
        models.add("churn", version, churn)
    assert models.point("churn", "1") == Champion("1", "")
    assert models.point("churn", "2") == Champion("2", "1")
    assert models.point("churn", "2") == Champion("2", "1")  # again: `previous` is kept
    assert models.point("churn", "3") == Champion("3", "2")
    assert models.point("churn", models.champion("churn").previous) == Champion("2", "3")
    assert models.champion("churn") == Champion("2", "3")
    assert models.champion("send_time") is None


@pytest.mark.parametrize("version", ["9", "", ".", "..", "../churn/1", "1/..", POINTER, "1\n", "/"])
def test_a_version_that_is_not_there_cannot_be_champion(models, churn, version):
    models.add("churn", "1", churn)
    models.point("churn", "1")
    with pytest.raises(VersionUnknownError, match=re.escape(f"has no version {version}")):
        models.point("churn", version)
    assert models.champion("churn") == Champion("1", "")


@pytest.mark.parametrize(
    "version", ["", ".", "..", "../../outside", "/tmp/outside", "a/b", ".hidden"]
)
def test_a_bundle_is_never_stored_outside_its_folder(models, churn, version):
    with pytest.raises(VersionUnknownError):
        models.add("churn", version, churn)
    assert not models.root.exists() or not list(models.root.rglob(GRAPH))


def test_a_version_that_is_there_stays_as_it_is(models, churn, bundle_folders):
    kept = models.add("churn", "1", churn)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}

    assert models.add("churn", "1", bundle_folders["send_time"]) == kept
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_a_damaged_or_foreign_bundle_does_not_come_in(models, churn, bundle_folders, tmp_path):
    with pytest.raises(BundleMismatchError):
        models.add("churn", "1", bundle_folders["send_time"])
    spoilt = shutil.copytree(churn, tmp_path / "spoilt")
    (spoilt / GRAPH).write_bytes(b"x")
    with pytest.raises(BundleCorruptError):
        models.add("churn", "1", spoilt)
    assert not models.has("churn", "1")
    assert not list(models.root.rglob("*"))


def test_what_was_added_loads_and_leaves_no_scratch_behind(models, churn):
    folder = models.add("churn", "2024-01-01.a_b", churn)
    assert load_bundle(folder, name="churn").manifest.name == "churn"
    assert [path.name for path in (models.root / "churn").iterdir()] == ["2024-01-01.a_b"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"version": ""}', '{"version": "../x"}',
             '{"version": ".."}', '{"previous": "1"}', "\xff"],
)  # fmt: skip
def test_a_pointer_that_cannot_be_read_is_no_champion(models, churn, text):
    models.add("churn", "1", churn)
    models.point("churn", "1")
    (models.root / "churn" / POINTER).write_bytes(text.encode("latin-1"))
    assert models.champion("churn") is None
    models.point("churn", "1")
    assert models.champion("churn") == Champion("1", "")


def test_a_reader_always_sees_one_champion_or_the_other(models, churn):
    for version in ("1", "2"):
        models.add("churn", version, churn)
    models.point("churn", "1")
    seen: set[Champion | None] = set()
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.is_set():
            seen.add(models.champion("churn"))

    reader = threading.Thread(target=watch)
    reader.start()
    for turn in range(300):
        models.point("churn", "12"[turn % 2])
    is_done.set()
    reader.join()
    assert seen <= {Champion("1", ""), Champion("1", "2"), Champion("2", "1")}
    assert [p.name for p in (models.root / "churn").iterdir() if p.suffix == ".tmp"] == []


def test_the_pointer_is_plain_json(models, churn):
    models.add("churn", "1", churn)
    models.point("churn", "1")
    stored = json.loads((models.root / "churn" / POINTER).read_text())
    assert stored == {"version": "1", "previous": ""}
    assert (models.folder("churn", "1") / MANIFEST).is_file()


# --- specs ------------------------------------------------------------------------------------


def test_no_spec_in_the_folder_is_left_out_of_the_list():
    assert {spec.name for spec in SPECS} == {m.name for m in pkgutil.iter_modules(specs.__path__)}
    assert list(BY_NAME.items()) == [(spec.name, spec) for spec in SPECS]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_prior_is_a_legal_answer(spec):
    assert spec.outputs[0].low <= spec.prior <= spec.outputs[0].high
    assert spec.horizon_days > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_inputs_are_unique_and_somebody_defines_them(spec):
    known = {*RECIPIENT.names, *RHYTHM_NAMES, *(name for name, _ in AFFINITY_FEATURES)}
    known |= {"has_zone", "opens_are_hidden", *(f"content_{name}" for name in CONTENT.names)}
    known |= {name for name, _ in COHORT_FEATURES}

    assert len(set(spec.inputs)) == len(spec.inputs)
    assert set(spec.inputs) <= known


def test_specs_tell_themselves_apart():
    assert len({spec.digest for spec in SPECS}) == len(SPECS)
