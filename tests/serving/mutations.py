"""Sound bundles spoiled in every way we could think of, by a seed; none of them may ever serve."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from models.bundle import GOLDEN, GRAPH, MANIFEST, MAX_BYTES, REPORT
from models.spec import ModelSpec
from models.specs import BY_NAME
from tests.serving.hostile import hash_again

FILES = (GRAPH, GOLDEN, REPORT, MANIFEST)
Rng = np.random.Generator


@dataclass(frozen=True)
class Spoilt:
    """A bundle and what was done to it; with whole hashes the graph itself must be judged."""

    kind: str
    name: str
    folder: Path


def spoilt(sound: dict[str, Path], root: Path, *, each: int, seed: int) -> Iterator[Spoilt]:
    """So many of each kind, of every model in turn, in folders under `root/<model>`."""
    rng = np.random.default_rng(seed)
    names = sorted(sound)
    for kind, spoil in KINDS.items():
        for number in range(each):
            name = names[number % len(names)]
            other = sound[names[(number + 1) % len(names)]]
            folder = root / name / f"{kind.replace(' ', '-')}-{number}"
            shutil.copytree(sound[name], folder)
            spoil(folder, BY_NAME[name], other, rng)
            if kind in JUDGED_BY_ITS_GRAPH:
                hash_again(folder)
            yield Spoilt(kind, name, folder)


def _any_of(rng: Rng, *several):
    return several[int(rng.integers(len(several)))]


def _flip(file: Path, rng: Rng, n: int) -> None:
    raw = bytearray(file.read_bytes())
    for place in rng.integers(0, len(raw), n):
        raw[place] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(raw))


def _cut(file: Path, rng: Rng) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[: int(rng.integers(0, len(raw.rstrip()) - 1))])


def _flipped(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    _flip(folder / _any_of(rng, GRAPH, GOLDEN, REPORT), rng, 1)


def _cut_short(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    _cut(folder / _any_of(rng, *FILES), rng)


def _swapped(folder: Path, _spec: ModelSpec, other: Path, rng: Rng) -> None:
    file = _any_of(rng, GRAPH, GOLDEN, MANIFEST)
    shutil.copy(other / file, folder / file)


def _half_written(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    """As a copy that was interrupted: whole files, then part of one, then none."""
    order = [str(name) for name in rng.permutation(FILES)]
    n_whole = int(rng.integers(0, len(order)))
    _cut(folder / order[n_whole], rng)
    for name in order[n_whole + 1 :]:
        (folder / name).unlink()


def _no_plain_file(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    file = folder / _any_of(rng, *FILES)
    away = file.rename(folder.with_name(f".{folder.name}.{file.name}"))
    make: Callable[[], object] = _any_of(
        rng,
        lambda: file.symlink_to(away),
        lambda: file.symlink_to("/dev/zero"),
        lambda: file.symlink_to(file),
        lambda: os.mkfifo(file),
        file.mkdir,
    )
    make()


def _manifest_edited(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    told = json.loads((folder / MANIFEST).read_text())
    told |= _any_of(
        rng,
        {"prior": -0.5}, {"prior": 1e300}, {"prior": float("nan")}, {"horizon_days": 0},
        {"horizon_days": float("inf")}, {"default_hour": 168}, {"default_hour_utc": -1},
        {"inputs": told["inputs"][::-1]}, {"inputs": []}, {"spec_digest": "0" * 16},
        {"format": 99}, {"name": "nobody"}, {"surprise": 1}, {"files": {}}, {"basis": "x" * 999},
        {"files": told["files"] | {"../../escape": "0" * 64}}, {"typical": [float("nan")]},
    )  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(told))


def _graph_flipped(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    _flip(folder / GRAPH, rng, int(rng.integers(1, 64)))


def _graph_cut(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    _cut(folder / GRAPH, rng)


def _golden_changed(folder: Path, spec: ModelSpec, _other: Path, rng: Rng) -> None:
    with np.load(folder / GOLDEN) as stored:
        parts = dict(stored)
    answer = f"out_{_any_of(rng, *spec.outputs).name}"
    changed = {
        "shifted": {answer: parts[answer] + np.float32(1e-3)},
        "no number": {answer: np.full_like(parts[answer], np.nan)},
        "no rows": {name: part[:0] for name, part in parts.items()},
        "wider": {answer: np.repeat(parts[answer], 2, axis=1)},
        "words": {answer: parts[answer].astype("U8")},
        "other rows": {"rows": parts["rows"] + np.float32(1.0)},
    }
    np.savez(folder / GOLDEN, **(parts | changed[_any_of(rng, *changed)]))


def _graph_edited(folder: Path, spec: ModelSpec, _other: Path, rng: Rng) -> None:
    """Another opset, other shapes, other names, another type."""
    model = onnx.load_from_string((folder / GRAPH).read_bytes())
    (rows,) = model.graph.input
    shape = rows.type.tensor_type.shape.dim
    match _any_of(rng, "opset", "width", "batch", "name", "type", "less", "node"):
        case "opset":
            model.opset_import[0].version = int(_any_of(rng, 1, 99, 2**31))
        case "width":
            shape[1].dim_value = len(spec.inputs) + int(rng.integers(1, 1_000))
        case "batch":
            with np.load(folder / GOLDEN) as stored:
                shape[0].dim_value = len(stored["rows"])
        case "name":
            model.graph.output[0].name = "another"
        case "type":
            rows.type.tensor_type.elem_type = TensorProto.DOUBLE
        case "less":
            del model.graph.output[0]
        case "node":
            del model.graph.node[int(rng.integers(len(model.graph.node)))]
    (folder / GRAPH).write_bytes(model.SerializeToString())


def _outside_weights(folder: Path, spec: ModelSpec, _other: Path, rng: Rng) -> None:
    """A number of the graph is looked for in a file, which is there."""
    model = onnx.load_from_string((folder / GRAPH).read_bytes())
    weights = np.ones(len(spec.inputs), np.float32)
    (folder / "weights.bin").write_bytes(weights.tobytes())
    place = _any_of(rng, "weights.bin", str(folder / "weights.bin"), "../weights.bin", "/dev/zero")
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=weights.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    (folder / GRAPH).write_bytes(_times(model, tensor).SerializeToString())


def _times(model: onnx.ModelProto, tensor: TensorProto) -> onnx.ModelProto:
    """The same graph of inputs that are multiplied by a tensor first."""
    model.graph.initializer.append(tensor)
    (rows,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["scaled" if name == rows.name else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Mul", [rows.name, tensor.name], ["scaled"]))
    return model


def _huge(folder: Path, _spec: ModelSpec, _other: Path, rng: Rng) -> None:
    """Sizes that are declared and not there, and files that unpack to more than memory."""
    match _any_of(rng, "sparse", "array", "bomb", "tensor"):
        case "sparse":
            os.truncate(folder / _any_of(rng, GRAPH, GOLDEN, REPORT), MAX_BYTES + 1)
        case "array":
            header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**12}, 9), }}\n"
            raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
            with zipfile.ZipFile(folder / GOLDEN, "w") as archive:
                archive.writestr("rows.npy", raw)
        case "bomb":
            (folder / GOLDEN).write_bytes(_bomb())
        case "tensor":
            model = onnx.load_from_string((folder / GRAPH).read_bytes())
            dims = [2**40, 2**20]
            tensor = TensorProto(name="vast", data_type=TensorProto.FLOAT, dims=dims)
            tensor.raw_data = b"\0" * 4
            (folder / GRAPH).write_bytes(_times(model, tensor).SerializeToString())


@cache
def _bomb() -> bytes:
    raw = BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("rows.npy", bytes(MAX_BYTES + 1))
    return raw.getvalue()


KINDS: dict[str, Callable[[Path, ModelSpec, Path, Rng], None]] = {
    "flipped": _flipped,
    "cut short": _cut_short,
    "swapped": _swapped,
    "half written": _half_written,
    "no plain file": _no_plain_file,
    "manifest edited": _manifest_edited,
    "graph flipped": _graph_flipped,
    "graph cut": _graph_cut,
    "golden changed": _golden_changed,
    "graph edited": _graph_edited,
    "outside weights": _outside_weights,
    "huge": _huge,
}
JUDGED_BY_ITS_GRAPH = {
    "graph flipped", "graph cut", "golden changed", "graph edited", "outside weights", "huge",
}  # fmt: skip
