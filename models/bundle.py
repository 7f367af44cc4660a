"""The artefact of a training: a folder that can prove what it is.

    model.onnx      the graph: float32 inputs to calibrated scores
    manifest.json   names, order, hashes, what it was trained on
    golden.npz      rows with the fitted model's own answers
    report.json     what was measured on this very graph

`verify` refuses a folder whose files differ from the manifest, whose graph follows files
outside itself or does not repeat the golden answers. Nothing here is ever unpickled.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import BundleCorruptError, BundleMismatchError, ParityError
from models.runtime import Session
from models.spec import ModelSpec
from models.specs import BY_NAME

FORMAT: Final = 1
PARITY_LIMIT: Final = 1e-5
MAX_BYTES: Final = 256 * 1024 * 1024
GRAPH, MANIFEST, GOLDEN, REPORT = "model.onnx", "manifest.json", "golden.npz", "report.json"

Floats = NDArray[np.float32]


class Calibration(BaseModel):
    """Log odds as a line of the raw score, and where that line is bent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slope: float
    intercept: float
    knots: tuple[float, ...]
    bends: tuple[float, ...]


class Manifest(BaseModel):
    """What a bundle says of itself.

    Args:
        calibrations: Of the graph, and of the figures in the report, which know no label of the
            test; empty where they are the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    spec_digest: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    prior: float
    horizon_days: float
    as_of: str
    trained_rows: int
    fingerprint: str
    label: str
    files: dict[str, str]
    default_hour: int | None = None
    default_hour_utc: int | None = None
    basis: str = "engagement"
    libraries: dict[str, str] = {}
    typical: tuple[float, ...] = ()
    calibrations: dict[Literal["exported", "measured"], Calibration] = {}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, loaded."""

    spec: ModelSpec
    manifest: Manifest
    session: Session
    folder: Path


def write_bundle(
    folder: Path,
    *,
    graph: bytes,
    manifest: Mapping[str, Any],
    golden: tuple[Floats, Mapping[str, Floats]],
    report: Mapping[str, Any],
) -> Path:
    """Write a bundle into a new folder; the same content gives the same bytes.

    Args:
        manifest: The fields of `Manifest` but `files`.
        golden: Rows of shape (n, n_inputs) and the fitted model's own outputs for them.
    """
    scratch = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    (scratch / GRAPH).write_bytes(graph)
    rows, answers = golden
    np.savez(scratch / GOLDEN, rows=rows, **{f"out_{k}": v for k, v in answers.items()})  # type: ignore[arg-type]
    (scratch / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    files = {name: sha256_of(scratch / name) for name in (GRAPH, GOLDEN, REPORT)}
    checked = Manifest(**manifest, files=files)
    (scratch / MANIFEST).write_text(checked.model_dump_json(indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    return folder


def load_bundle(folder: Path, *, name: str | None = None) -> Bundle:
    """Verify a bundle and load it.

    Args:
        name: The model it is asked to be; a sound bundle of another model is refused.

    Raises:
        BundleCorruptError: A file is missing, a link, too large or not what the manifest says.
        BundleMismatchError: It is of another spec than ours.
        ParityError: The graph does not repeat the golden answers.
    """
    manifest = _manifest(folder)
    if name is not None and manifest.name != name:
        raise BundleMismatchError(name, f"it is a bundle of {manifest.name}")
    spec = BY_NAME.get(manifest.name)
    if spec is None or spec.digest != manifest.spec_digest or spec.inputs != manifest.inputs:
        raise BundleMismatchError(manifest.name, "made for other inputs or outputs")
    if set(manifest.files) != {GRAPH, GOLDEN, REPORT}:
        raise BundleCorruptError(folder / MANIFEST, "lists other files than a bundle has")
    for file, expected in manifest.files.items():
        _check_file(folder / file, expected)
    graph = (folder / GRAPH).read_bytes()
    session = Session(graph, spec)
    _check_golden(folder / GOLDEN, session, spec)
    return Bundle(spec, manifest, session, folder)


def report_of(folder: Path) -> dict[str, Any]:
    """The report inside a bundle."""
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return report


def sha256_of(file: Path) -> str:
    """Hex digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def worst_difference(found: Mapping[str, Floats], expected: Mapping[str, Floats]) -> float:
    """The largest absolute difference over all outputs; infinite when one is not finite."""
    worst = 0.0
    for name, wanted in expected.items():
        got = found[name].reshape(wanted.shape).astype(np.float64)
        if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
            return float("inf")
        worst = max(worst, float(np.abs(got - wanted).max(initial=0.0)))
    return worst


def _manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    if file.is_symlink():
        raise BundleCorruptError(file, "is not a plain file of the bundle")
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BundleCorruptError(file, f"cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise BundleCorruptError(file, f"{error.error_count()} fields are wrong") from error


def _check_file(file: Path, expected: str) -> None:
    if file.is_symlink():
        raise BundleCorruptError(file, "is not a plain file of the bundle")
    if not file.is_file() or file.stat().st_size > MAX_BYTES:
        raise BundleCorruptError(file, "is missing or too large")
    found = sha256_of(file)
    if found != expected:
        raise BundleCorruptError(file, f"has sha256 {found[:12]}, its manifest {expected[:12]}")


def _check_golden(file: Path, session: Session, spec: ModelSpec) -> None:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            rows = stored["rows"]
            expected = {o.name: stored[f"out_{o.name}"] for o in spec.outputs}
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise BundleCorruptError(file, f"cannot be read ({error})") from error
    shapes = [(len(rows), output.width) for output in spec.outputs]
    is_whole = rows.dtype == np.float32 and rows.shape == (max(len(rows), 1), len(spec.inputs))
    if not is_whole or [answers.shape for answers in expected.values()] != shapes:
        raise BundleCorruptError(file, "holds no rows and answers of this model")
    worst = worst_difference(session.run(rows), expected)
    if worst > PARITY_LIMIT:
        raise ParityError(spec.name, worst, PARITY_LIMIT)
