"""Estimator to bundle: build the graph, prove that it repeats the estimator, write the folder.

The proof takes up to 10,000 real rows, and for every split of every tree rows placed exactly
on its threshold, one ulp below and one above, missing and at the ends of the range.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.bundle import PARITY_LIMIT, Bundle, load_bundle, worst_difference, write_bundle
from models.errors import ParityError
from models.report import Report
from models.runtime import Session
from models.spec import ModelSpec

PROOF_ROWS: Final = 10_000
NEAR_ZERO: Final = np.float32(1e-35)
GOLDEN_ROWS: Final = 50
LIBRARIES: Final = ("lightgbm", "numpy", "onnx", "onnxmltools", "onnxruntime", "scikit-learn")

Rows = NDArray[np.float32]
Native = Callable[[Rows], Mapping[str, Rows]]


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph with its proof: the worst difference and over how many rows."""

    spec: ModelSpec
    graph: bytes
    native: Native
    golden: Rows
    parity: dict[str, float]


def prove(
    spec: ModelSpec,
    graph: bytes,
    native: Native,
    rows: Rows,
    *,
    thresholds: Sequence[tuple[int, float]] = (),
) -> Exported:
    """Compare the graph with the estimator row by row.

    Args:
        native: The estimator's own outputs by name for rows of shape (n, n_inputs).
        rows: Real rows; drawn again with their order shuffled per column when fewer than 10,000.
        thresholds: Splits as (input column, threshold).

    Raises:
        ParityError: Some output differs by more than 1e-5 or is not finite.
    """
    session = Session(graph, spec)
    rng = np.random.default_rng(11)
    real = rows[rng.permutation(len(rows))[:PROOF_ROWS]]
    parity = {"rows": float(PROOF_ROWS), "threshold rows": float(3 * len(thresholds))}
    mixed = np.stack(
        [rng.choice(column, PROOF_ROWS - len(real)) for column in rows.T], axis=1
    ) if len(real) < PROOF_ROWS else real[:0]  # fmt: skip
    edges = on_thresholds(real, thresholds, rng)
    for name, part in (("max difference", np.concatenate([real, mixed])), ("on thresholds", edges)):
        worst = 0.0
        for start in range(0, len(part), 5_000):
            piece = np.ascontiguousarray(part[start : start + 5_000])
            worst = max(worst, worst_difference(session.run(piece), native(piece)))
        if worst > PARITY_LIMIT:
            raise ParityError(spec.name, worst, PARITY_LIMIT)
        parity[name] = worst
    golden = np.concatenate([real[:GOLDEN_ROWS], edges[:GOLDEN_ROWS]])
    return Exported(spec, graph, native, golden, parity)


def on_thresholds(
    rows: Rows, thresholds: Sequence[tuple[int, float]], rng: np.random.Generator
) -> Rows:
    """For each split three real rows moved onto it: at the threshold, one ulp below, one above.

    LightGBM splits zero from the rest at 1e-35 and reads everything nearer to zero as zero. No
    feature lies there (`decay.FLOOR` is 1e-30): there the three are zero and what is next to
    that gap on either side.
    """
    if not thresholds:
        return rows[:0]
    base = rows[rng.integers(0, len(rows), 3 * len(thresholds))].copy()
    for i, (column, threshold) in enumerate(thresholds):
        with np.errstate(over="ignore"):  # a split on being missing lies beyond float32
            at = np.float32(threshold)
        low, high = (-NEAR_ZERO, NEAR_ZERO) if abs(at) <= NEAR_ZERO else (at, at)
        with np.errstate(over="ignore"):
            base[3 * i, column] = at if low == high else np.float32(0.0)
            base[3 * i + 1, column] = np.nextafter(low, np.float32(-np.inf))
            base[3 * i + 2, column] = np.nextafter(high, np.float32(np.inf))
    return base


def export(exported: Exported, folder: Path, *, report: Report, about: Mapping[str, Any]) -> Bundle:
    """Write the bundle and read it back as serving will.

    Args:
        about: The manifest's as_of, trained_rows, fingerprint, label and what else applies.
    """
    spec = exported.spec
    manifest = {
        "name": spec.name,
        "spec_digest": spec.digest,
        "inputs": spec.inputs,
        "outputs": tuple(output.name for output in spec.outputs),
        "prior": spec.prior,
        "horizon_days": spec.horizon_days,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    golden = (exported.golden, exported.native(exported.golden))
    write_bundle(
        folder,
        graph=exported.graph,
        manifest=manifest | dict(about),
        golden=golden,
        report=report.to_json(),
    )
    return load_bundle(folder, name=spec.name)
