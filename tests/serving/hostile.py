"""Bundles with sound hashes around graphs that no service survives."""

import json
import shutil
from pathlib import Path

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from models.bundle import GRAPH, MANIFEST, sha256_of
from models.spec import ModelSpec

_FLOAT, _INT, _BOOL = 1, 7, 9
ENDLESS = 2**62  # times around a loop: centuries
HUGE = [40_000, 40_000]  # of float32: six gigabytes


def hash_again(folder: Path) -> None:
    """Let the manifest say that the files are as they should be."""
    told = json.loads((folder / MANIFEST).read_text())
    told["files"] = {name: sha256_of(folder / name) for name in told["files"]}
    (folder / MANIFEST).write_text(json.dumps(told))


def put_graph(source: Path, target: Path, graph: bytes) -> Path:
    """A copy of a bundle with another graph, which its hashes vouch for."""
    shutil.copytree(source, target)
    (target / GRAPH).write_bytes(graph)
    hash_again(target)
    return target


def hanging(spec: ModelSpec) -> bytes:
    """It goes round and round."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["x", "one"], ["extra_next"]),
        ],
        "body",
        [_tensor("i", _INT, []), _tensor("go", _BOOL, []), _tensor("x", _FLOAT, [1])],
        [_tensor("go_on", _BOOL, []), _tensor("extra_next", _FLOAT, [1])],
    )
    loop = helper.make_node("Loop", ["n", "yes", "one"], ["extra"], body=body)
    known = {"n": np.int64(ENDLESS), "yes": np.bool_(True), "one": np.float32([1])}
    return _around(spec, [loop], known).SerializeToString()


def greedy(spec: ModelSpec) -> bytes:
    """It asks for more memory than a bundle may have."""
    nodes = [
        helper.make_node("ReduceMean", ["rows"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "shape"], ["big"]),
        helper.make_node("ReduceMean", ["big"], ["small"], keepdims=0),
        helper.make_node("Reshape", ["small", "one"], ["extra"]),
    ]
    known = {"shape": np.int64(HUGE), "one": np.int64([1])}
    return _around(spec, nodes, known).SerializeToString()


def _around(spec: ModelSpec, nodes: list, known: dict) -> ModelProto:
    """Nodes that end in `extra`, and answers of the spec's names and shapes that need it."""
    answers, tail = [], []
    for output in spec.outputs:
        answers.append(_tensor(output.name, _FLOAT, [None, output.width]))
        width = f"{output.name}_shape"
        known = known | {width: np.int64([1, output.width])}
        tail += [
            helper.make_node("ReduceMean", ["rows"], [f"{output.name}_mean"], axes=[1], keepdims=1),
            helper.make_node("Mul", [f"{output.name}_mean", "extra"], [f"{output.name}_one"]),
            helper.make_node("Expand", [f"{output.name}_one", width], [output.name]),
        ]
    rows = [_tensor("rows", _FLOAT, [None, len(spec.inputs)])]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()]
    graph = helper.make_graph([*nodes, *tail], "hostile", rows, answers, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _tensor(name: str, kind: int, shape: list):
    return helper.make_tensor_value_info(name, kind, shape)
