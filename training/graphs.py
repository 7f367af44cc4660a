"""ONNX graphs from parts, and the graph of calibrated trees."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from models.spec import ModelSpec
from training.curve import LARGEST, Curve
from training.trees import CalibratedTrees

OPSET: Final = 17
IR_VERSION: Final = 9
_EDGE: Final = 1e-7  # probabilities this close to 0 or 1 are clipped before the log odds


def trees_graph(
    model: CalibratedTrees, spec: ModelSpec, *, beside: Mapping[str, Curve] | None = None
) -> bytes:
    """The booster as a tree ensemble, its log odds calibrated, one output of shape (n, 1).

    Args:
        beside: Curves that give the spec's other outputs, of the same rows.
    """
    width = len(spec.inputs)
    converted = convert_lightgbm(
        model.booster,
        initial_types=[("rows", FloatTensorType([None, width]))],
        zipmap=False,
        target_opset=15,
    )
    graph = converted.graph
    graph.name = spec.name  # the converter draws a random one: the same model, the same bytes
    probabilities = next(o.name for o in graph.output if "prob" in o.name)
    pick = Nodes()
    p = pick.node("Gather", probabilities, pick.constant(np.array([1], np.int64)), axis=1)
    p = pick.node("Clip", p, pick.number(_EDGE), pick.number(1.0 - _EDGE))
    odds = pick.node("Div", p, pick.node("Sub", pick.number(1.0), p))
    raw = pick.node("Log", odds)
    if model.start is not None:
        raw = pick.node("Add", raw, pick.curve_odds(graph.input[0].name, model.start))
    scaled = pick.node("Mul", raw, pick.number(model.platt.slope))
    shifted = pick.node("Add", scaled, pick.number(model.platt.intercept))
    if model.platt.knots:
        above = pick.node("Relu", pick.node("Sub", raw, pick.constant(np.array(model.platt.knots))))
        bent = pick.matmul(above, np.array(model.platt.bends)[:, None])
        shifted = pick.node("Add", shifted, bent)
    pick.node("Sigmoid", shifted, output=spec.outputs[0].name)
    for name, curve in (beside or {}).items():
        pick.curve(graph.input[0].name, curve, output=name)
    graph.node.extend(pick.nodes)
    graph.initializer.extend(pick.constants)
    del graph.output[:]
    graph.output.extend(_floats(output.name, output.width) for output in spec.outputs)
    return _finished(graph, [("", OPSET), ("ai.onnx.ml", 3)])


def shifted_graph(graph: bytes, outputs: Sequence[str], *, by: float) -> bytes:
    """A graph whose named chances have log odds larger by a constant; all else stays."""
    model = onnx.load_from_string(graph)
    g = Nodes(mark=f"shift_{len(model.graph.node)}")
    for name in outputs:
        before = f"{name}_before_{g.mark}"
        for node in model.graph.node:
            node.output[:] = [before if output == name else output for output in node.output]
            node.input[:] = [before if each == name else each for each in node.input]
        p = g.node("Cast", before, to=TensorProto.DOUBLE)
        p = g.node("Clip", p, g.double(_EDGE), g.double(1.0 - _EDGE))
        odds = g.node("Div", p, g.node("Sub", g.double(1.0), p))
        moved = g.node("Add", g.node("Log", odds), g.double(by))
        g.node("Cast", g.node("Sigmoid", moved), to=TensorProto.FLOAT, output=name)
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def shifted_chances(p: NDArray[np.float32], *, by: float) -> NDArray[np.float32]:
    """What `shifted_graph` makes of chances."""
    known = np.clip(p.astype(np.float64), _EDGE, 1.0 - _EDGE)
    odds = known / (1.0 - known) * np.exp(by)
    return np.asarray(odds / (1.0 + odds), np.float32)


def of_nodes(g: "Nodes", spec: ModelSpec) -> bytes:
    """The graph of nodes that read `rows` and make every output of the spec."""
    graph = helper.make_graph(
        g.nodes,
        spec.name,
        [_floats("rows", len(spec.inputs))],
        [_floats(output.name, output.width) for output in spec.outputs],
        g.constants,
    )
    return _finished(graph, [("", OPSET)])


class Nodes:
    """Collects nodes and constants and names their outputs.

    Args:
        mark: Ends every name; another one for nodes that are added to a graph of ours.
    """

    FLOAT: Final = TensorProto.FLOAT
    DOUBLE: Final = TensorProto.DOUBLE

    def __init__(self, mark: str = "ours") -> None:
        self.mark = mark
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append one node; returns the name of its output."""
        name = output or f"{kind.lower()}_{len(self.nodes)}_of_{self.mark}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        """Store an array; floats become float32."""
        return self._kept(value.astype(np.float32) if value.dtype.kind == "f" else value)

    def number(self, value: float) -> str:
        """Store one float32."""
        return self.constant(np.array(value, dtype=np.float64))

    def double(self, value: float) -> str:
        """Store one float64."""
        return self.doubles(np.array(value, dtype=np.float64))

    def doubles(self, values: NDArray[np.float64]) -> str:
        """Store an array of float64."""
        return self._kept(values)

    def split(self, rows: str, widths: Sequence[int]) -> list[str]:
        """Columns side by side as parts."""
        sizes = self.constant(np.array(widths, np.int64))
        names = [f"split_{len(self.nodes)}_{part}_of_{self.mark}" for part in range(len(widths))]
        self.nodes.append(helper.make_node("Split", [rows, sizes], names, axis=1))
        return names

    def columns(self, rows: str, start: int, stop: int) -> str:
        """Some columns of the input."""
        bounds = [self.constant(np.array([x], np.int64)) for x in (start, stop, 1)]
        return self.node("Slice", rows, *bounds)

    def matmul(self, rows: str, matrix: NDArray[np.float64]) -> str:
        """Rows times a constant matrix."""
        return self.node("MatMul", rows, self.constant(matrix))

    def curve(self, rows: str, curve: Curve, *, output: str) -> str:
        """`Curve.predict`, shape (n, 1)."""
        return self.node("Sigmoid", self.curve_odds(rows, curve), output=output)

    def curve_odds(self, rows: str, curve: Curve) -> str:
        """`Curve.odds`, shape (n, 1); in float64, for what hardly varies has a large weight."""
        asked = self.node("Gather", rows, self.constant(curve.columns), axis=1)
        known = self.node("Cast", asked, to=self.DOUBLE)
        typical = self.doubles(curve.typical[None, :])
        known = self.node("Where", self.node("IsNaN", asked), typical, known)
        above = self.node("Clip", known, self.double(0.0), self.double(LARGEST))
        logs = self.node("Log", self.node("Add", above, self.double(1.0)))
        z = self.node("MatMul", logs, self.doubles(curve.weights[:, None]))
        z = self.node("Add", z, self.double(curve.intercept))
        return self.node("Cast", z, to=self.FLOAT)

    def total(self, rows: str) -> str:
        """Sum of each row, kept as a column."""
        axes = self.constant(np.array([1], np.int64))
        return self.node("ReduceSum", rows, axes, keepdims=1)

    def normal(self, rows: str) -> str:
        """Each row over its sum."""
        return self.node("Div", rows, self.total(rows))

    def shrunk(self, own: str, prior: str, n: str, strength: float, *, output: str = "") -> str:
        """(own + strength * prior) / (n + strength)."""
        weight = self.number(strength)
        top = self.node("Add", own, self.node("Mul", prior, weight))
        return self.node("Div", top, self.node("Add", n, weight), output=output)

    def _kept(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}_of_{self.mark}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _floats(name: str, width: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])


def _finished(graph: Any, opsets: Sequence[tuple[str, int]]) -> bytes:
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    model = helper.make_model(graph, opset_imports=imports, producer_name="opportune")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
