"""Laws of the bundle: it says what it is, and nothing damaged or foreign is ever loaded."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.bundle import (
    GOLDEN,
    GRAPH,
    MANIFEST,
    PARITY_LIMIT,
    REPORT,
    load_bundle,
    report_of,
    sha256_of,
    worst_difference,
    write_bundle,
)
from models.errors import BundleCorruptError, BundleMismatchError, ModelError, ParityError
from models.report import read_report
from models.specs import BY_NAME, SPECS

FILES = (GRAPH, GOLDEN, REPORT)
NAMES = [spec.name for spec in SPECS]


@pytest.fixture
def bundle(bundle_folders, tmp_path) -> Path:
    """A churn bundle to spoil."""
    return Path(shutil.copytree(bundle_folders["churn"], tmp_path / "bundle"))


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_text())


def rewrite(folder: Path, **changes: object) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest_of(folder) | changes))


def hash_again(folder: Path) -> None:
    rewrite(folder, files={name: sha256_of(folder / name) for name in FILES})


def golden_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / GOLDEN) as stored:
        return dict(stored)


def parts_of(folder: Path) -> dict:
    golden = golden_of(folder)
    fields = {k: v for k, v in manifest_of(folder).items() if k != "files"}
    answers = {k.removeprefix("out_"): v for k, v in golden.items() if k != "rows"}
    return {
        "graph": (folder / GRAPH).read_bytes(),
        "manifest": fields,
        "golden": (golden["rows"], answers),
        "report": report_of(folder),
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read_back(bundle_folders, name):
    bundle = load_bundle(bundle_folders[name], name=name)

    assert bundle.spec is BY_NAME[name]
    assert bundle.manifest.inputs == bundle.spec.inputs
    assert set(bundle.manifest.files) == set(FILES)
    assert read_report(report_of(bundle.folder)).model == name
    golden = golden_of(bundle.folder)
    scores = bundle.session.run(golden["rows"])
    for output in bundle.spec.outputs:
        assert scores[output.name].shape == (len(golden["rows"]), output.width)
        assert np.all(scores[output.name] >= output.low)
        assert np.all(scores[output.name] <= output.high)
        np.testing.assert_allclose(scores[output.name], golden[f"out_{output.name}"], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_content_gives_the_same_bytes(bundle_folders, tmp_path, name):
    content = parts_of(bundle_folders[name])
    for folder in (tmp_path / "one", tmp_path / "two"):
        write_bundle(folder, **content)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted([*FILES, MANIFEST])
    for file in files:
        one, two = ((tmp_path / side / file).read_bytes() for side in ("one", "two"))
        assert one == two
        assert one == (bundle_folders[name] / file).read_bytes()


def test_writing_again_replaces_the_folder_whole(bundle_folders, tmp_path):
    target = write_bundle(tmp_path / "b", **parts_of(bundle_folders["churn"]))
    (target / "left over").write_text("x")
    write_bundle(tmp_path / "b", **parts_of(bundle_folders["churn"]))

    assert sorted(path.name for path in target.iterdir()) == sorted([*FILES, MANIFEST])
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_byte_anywhere_in_a_file_is_refused(bundle, file):
    path = bundle / file
    sound = path.read_bytes()
    for place in np.linspace(0, len(sound) - 1, 9).astype(int):
        damaged = bytearray(sound)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(BundleCorruptError, match=f"{file}.*sha256.*roll back"):
            load_bundle(bundle)
    path.write_bytes(sound)
    load_bundle(bundle)


@pytest.mark.parametrize("file", [*FILES, MANIFEST])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_file_cut_short_is_refused(bundle, file, kept):
    whole = (bundle / file).read_bytes()
    (bundle / file).write_bytes(whole[: int(len(whole) * kept)].rstrip(b"\n}"))
    with pytest.raises(BundleCorruptError, match=file):
        load_bundle(bundle)


@pytest.mark.parametrize("file", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(bundle, file):
    (bundle / file).unlink()
    with pytest.raises(BundleCorruptError, match=file):
        load_bundle(bundle)


@pytest.mark.parametrize("file", [*FILES, MANIFEST])
def test_a_link_is_refused_even_to_the_right_bytes(bundle, tmp_path, file):
    (bundle / file).rename(tmp_path / "elsewhere")
    (bundle / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleCorruptError, match=file):
        load_bundle(bundle)


def test_a_folder_in_place_of_a_file_is_refused(bundle):
    (bundle / REPORT).unlink()
    (bundle / REPORT).mkdir()
    with pytest.raises(BundleCorruptError, match=REPORT):
        load_bundle(bundle)


@pytest.mark.parametrize("place", ["../outside", "sub/../../outside", "/etc/hostname", "extra"])
def test_a_manifest_that_names_other_files_is_refused(bundle, place):
    (bundle.parent / "outside").write_text("x")
    (bundle / "sub").mkdir()
    (bundle / "extra").write_text("x")
    files = manifest_of(bundle)["files"]
    rewrite(bundle, files=files | {place: sha256_of(bundle / place)})
    with pytest.raises(BundleCorruptError):
        load_bundle(bundle)


@pytest.mark.parametrize("file", FILES)
def test_a_manifest_that_keeps_silent_about_a_file_is_refused(bundle, file):
    files = manifest_of(bundle)["files"]
    rewrite(bundle, files={name: digest for name, digest in files.items() if name != file})
    with pytest.raises(BundleCorruptError):
        load_bundle(bundle)


def test_a_flipped_byte_of_the_manifest_is_refused_or_changes_no_score(bundle):
    """The manifest has no hash of its own: what it says of files, name and inputs is checked."""
    sound = (bundle / MANIFEST).read_bytes()
    rows = golden_of(bundle)["rows"]
    expected = load_bundle(bundle).session.run(rows)["p_churn"]
    n_refused = 0
    for place in range(0, len(sound), 37):
        damaged = bytearray(sound)
        damaged[place] ^= 1
        (bundle / MANIFEST).write_bytes(bytes(damaged))
        try:
            loaded = load_bundle(bundle, name="churn")
        except ModelError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(loaded.session.run(rows)["p_churn"], expected)
    assert n_refused > 20


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"inputs": None}, {"surprise": 1}, {"trained_rows": "many"}, {"prior": None}],
    ids=str,
)
def test_a_manifest_with_wrong_fields_is_refused(bundle, change):
    rewrite(bundle, **change)
    with pytest.raises(BundleCorruptError, match="fields are wrong"):
        load_bundle(bundle)


def test_a_sound_bundle_of_another_model_is_refused(bundle_folders):
    for name in NAMES:
        for other in NAMES:
            if other != name:
                with pytest.raises(BundleMismatchError, match=f"{name}.*bundle of {other}"):
                    load_bundle(bundle_folders[other], name=name)


def test_a_bundle_made_for_other_inputs_is_refused(bundle):
    sound = manifest_of(bundle)
    for change in (
        {"spec_digest": "0" * 16},
        {"inputs": sound["inputs"][::-1]},
        {"inputs": sound["inputs"][:-1]},
        {"name": "nobody"},
    ):
        rewrite(bundle, **(sound | change))
        with pytest.raises(BundleMismatchError, match="retrain"):
            load_bundle(bundle)


def test_another_models_graph_in_the_folder_is_refused(bundle, bundle_folders):
    for other in ("send_time", "content_preference"):
        shutil.copy(bundle_folders[other] / GRAPH, bundle / GRAPH)
        hash_again(bundle)
        with pytest.raises(BundleMismatchError):
            load_bundle(bundle)


def test_a_graph_that_is_none_is_refused(bundle):
    (bundle / GRAPH).write_bytes(b"not a graph")
    hash_again(bundle)
    with pytest.raises(BundleMismatchError, match="cannot be loaded"):
        load_bundle(bundle)


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "{folder}/weights.bin"])
def test_a_graph_that_follows_a_file_outside_itself_is_refused(bundle, monkeypatch, place):
    """Even where that file lies in the folder and in the working directory."""
    spec = BY_NAME["churn"]
    weights = np.ones((len(spec.inputs), 1), np.float32)
    for folder in (bundle, bundle.parent):
        (folder / "weights.bin").write_bytes(weights.tobytes())
    monkeypatch.chdir(bundle)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=weights.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place.format(folder=bundle))
    shapes = [helper.make_tensor_value_info("rows", 1, [None, len(spec.inputs)])]
    answers = [helper.make_tensor_value_info("p_churn", 1, [None, 1])]
    nodes = [helper.make_node("MatMul", ["rows", "w"], ["p_churn"])]
    graph = helper.make_graph(nodes, "g", shapes, answers, [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (bundle / GRAPH).write_bytes(model.SerializeToString())
    hash_again(bundle)
    with pytest.raises(BundleMismatchError, match="cannot be loaded"):
        load_bundle(bundle)


def spoiled(golden: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    rows, answers = golden["rows"].copy(), golden["out_p_churn"].copy()
    match how:
        case "another row":
            rows[0] = rows[1:][np.abs(answers[1:, 0] - answers[0, 0]).argmax()]
        case "another answer":
            answers[3] += 10 * PARITY_LIMIT
        case "an answer that is no number":
            answers[3] = np.nan
    return golden | {"rows": rows, "out_p_churn": answers}


@pytest.mark.parametrize("how", ["another row", "another answer", "an answer that is no number"])
def test_golden_rows_changed_together_with_the_manifest_are_found_out(bundle, how):
    np.savez(bundle / GOLDEN, **spoiled(golden_of(bundle), how))
    hash_again(bundle)
    with pytest.raises(ParityError, match="differs"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "how", ["none", "narrow", "misshapen", "words", "no answers", "bytes", "zip"]
)
def test_golden_rows_that_prove_nothing_are_refused(bundle, how):
    golden = golden_of(bundle)
    rows, answers = golden.pop("rows"), golden.pop("out_p_churn")
    match how:
        case "none":
            np.savez(bundle / GOLDEN, rows=rows[:0], out_p_churn=answers[:0], **golden)
        case "narrow":
            np.savez(bundle / GOLDEN, rows=rows[:, :-1], out_p_churn=answers, **golden)
        case "misshapen":
            np.savez(bundle / GOLDEN, rows=rows, out_p_churn=answers[:-1], **golden)
        case "words":
            np.savez(bundle / GOLDEN, rows=rows.astype(str), out_p_churn=answers, **golden)
        case "no answers":
            np.savez(bundle / GOLDEN, rows=rows)
        case "bytes":
            (bundle / GOLDEN).write_bytes(b"")
        case "zip":
            (bundle / GOLDEN).write_bytes(b"PK\x03\x04" + b"x" * 100)
    hash_again(bundle)
    with pytest.raises(BundleCorruptError, match=GOLDEN):
        load_bundle(bundle)


def test_pickled_golden_rows_are_never_unpickled(bundle):
    objects = np.array([[{"evil": 1}]], dtype=object)
    np.savez(bundle / GOLDEN, rows=objects, out_p_churn=objects, allow_pickle=True)
    hash_again(bundle)
    with pytest.raises(BundleCorruptError, match=GOLDEN):
        load_bundle(bundle)


def test_the_worst_difference_is_infinite_where_a_number_is_missing():
    fine, holes = np.zeros((2, 1), np.float32), np.full((2, 1), np.nan, np.float32)
    assert worst_difference({"a": fine}, {"a": fine}) == 0.0
    assert math.isinf(worst_difference({"a": holes}, {"a": fine}))
    assert math.isinf(worst_difference({"a": fine}, {"a": holes}))
    assert worst_difference({"a": fine, "b": fine + 1}, {"a": fine, "b": fine}) == 1.0


def test_graphs_are_of_a_version_that_the_runtime_reads(bundle_folders):
    for folder in bundle_folders.values():
        model = onnx.load_from_string((folder / GRAPH).read_bytes())
        assert model.ir_version <= 10
