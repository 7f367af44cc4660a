"""The artefact of a training: a folder that can prove what it is.

    model.onnx      the graph: float32 inputs to calibrated scores
    manifest.json   names, order, hashes, what it was trained on
    golden.npz      rows with the fitted model's own answers
    report.json     what was measured on this very graph

`load_bundle` refuses a folder whose files differ from the manifest, whose graph follows files
outside itself or does not repeat the golden answers. Nothing here is ever unpickled.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from features.layout import HOURS_PER_WEEK
from models.errors import BundleCorruptError, BundleMismatchError, ParityError
from models.reference import Reference
from models.runtime import Session
from models.spec import ModelSpec
from models.specs import BY_NAME

FORMAT: Final = 1
PARITY_LIMIT: Final = 1e-5
MAX_BYTES: Final = 256 * 1024 * 1024
MAX_MANIFEST_BYTES: Final = 1024 * 1024
MAX_HORIZON_DAYS: Final = 36_600.0
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
    """What a bundle says of itself; numbers that reach answers are legal ones.

    Args:
        calibrations: Of the graph, and of the figures in the report, which know no label of the
            test; empty where they are the same.
        n_erasures: How many were over when the training began to read the log; None in earlier
            versions.
        reference: What inputs and scores looked like; None in bundles of earlier versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    name: str
    spec_digest: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    prior: float = Field(ge=0, le=1)
    horizon_days: float = Field(gt=0, le=MAX_HORIZON_DAYS)
    as_of: str
    trained_rows: int
    fingerprint: str
    label: str
    files: dict[str, str]
    default_hour: int | None = Field(None, ge=0, lt=HOURS_PER_WEEK)
    default_hour_utc: int | None = Field(None, ge=0, lt=HOURS_PER_WEEK)
    basis: str = Field("engagement", max_length=64)
    libraries: dict[str, str] = {}
    typical: tuple[float, ...] = ()
    calibrations: dict[Literal["exported", "measured"], Calibration] = {}
    reference: Reference | None = None
    n_erasures: int | None = None


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


def digest_of(folder: Path) -> str:
    """What tells a bundle from all others: the sha256 of its manifest, which names all hashes.

    Raises:
        BundleCorruptError: There is no manifest to read.
    """
    return hashlib.sha256(_read(folder / MANIFEST, at_most=MAX_MANIFEST_BYTES)).hexdigest()


def load_bundle(folder: Path, *, name: str | None = None, digest: str | None = None) -> Bundle:
    """Verify a bundle and load it. What is loaded are the very bytes that were verified.

    Args:
        name: The model it is asked to be; a sound bundle of another model is refused.
        digest: Of the bundle that is meant, as `digest_of` told it before.

    Raises:
        BundleCorruptError: A file is missing, a link, too large or not what the manifest says.
        BundleMismatchError: It is of another spec than ours, or cannot score single rows.
        ParityError: The graph does not repeat the golden answers.
    """
    spec, manifest, files = _parts(folder, name, digest)
    session = Session(files[GRAPH], spec)
    _check_golden(_golden(folder / GOLDEN, files[GOLDEN], spec), session, spec)
    return Bundle(spec, manifest, session, folder)


def check_files(folder: Path, *, name: str, digest: str) -> None:
    """What of `load_bundle` runs no graph: manifest and hashes.

    Raises:
        BundleCorruptError, BundleMismatchError: As `load_bundle` does.
    """
    _parts(folder, name, digest)


def _parts(
    folder: Path, name: str | None, digest: str | None
) -> tuple[ModelSpec, Manifest, dict[str, bytes]]:
    told = _read(folder / MANIFEST, at_most=MAX_MANIFEST_BYTES)
    if digest is not None and hashlib.sha256(told).hexdigest() != digest:
        raise BundleCorruptError(folder / MANIFEST, "has changed since it was tried")
    manifest = _manifest(folder / MANIFEST, told)
    if name is not None and manifest.name != name:
        raise BundleMismatchError(name, f"it is a bundle of {manifest.name}")
    spec = BY_NAME.get(manifest.name)
    if spec is None or spec.digest != manifest.spec_digest or spec.inputs != manifest.inputs:
        raise BundleMismatchError(manifest.name, "made for other inputs or outputs")
    if set(manifest.files) != {GRAPH, GOLDEN, REPORT}:
        raise BundleCorruptError(folder / MANIFEST, "lists other files than a bundle has")
    files = {file: _checked(folder / file, sha256) for file, sha256 in manifest.files.items()}
    return spec, manifest, files


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


def _manifest(file: Path, told: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(told)
    except ValidationError as error:
        raise BundleCorruptError(file, f"{error.error_count()} fields are wrong") from error


def _checked(file: Path, expected: str) -> bytes:
    """The bytes of a file, if they are those that the manifest means."""
    raw = _read(file, at_most=MAX_BYTES)
    found = hashlib.sha256(raw).hexdigest()
    if found != expected:
        raise BundleCorruptError(file, f"has sha256 {found[:12]}, its manifest {expected[:12]}")
    return raw


def _read(file: Path, *, at_most: int) -> bytes:
    """A plain file whole: no link, and no pipe, which would keep its reader waiting."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            told = os.fstat(descriptor)
            if stat.S_ISREG(told.st_mode) and told.st_size <= at_most:
                return stream.read(at_most)
    except OSError as error:
        raise BundleCorruptError(file, f"cannot be read ({error.strerror})") from error
    raise BundleCorruptError(file, f"is not a plain file of at most {at_most} bytes")


def _golden(file: Path, raw: bytes, spec: ModelSpec) -> tuple[Floats, dict[str, Floats]]:
    """Rows and their answers."""
    try:
        rows, answers = _arrays(raw, spec)
    except Exception as error:
        raise BundleCorruptError(file, f"cannot be read ({error})") from error
    shapes = [(len(rows), output.width) for output in spec.outputs]
    is_whole = rows.dtype == np.float32 and rows.shape == (max(len(rows), 1), len(spec.inputs))
    if not is_whole or [(a.shape, a.dtype.kind) for a in answers.values()] != [
        (shape, "f") for shape in shapes
    ]:
        raise BundleCorruptError(file, "holds no rows and answers of this model")
    return rows, answers


def _arrays(raw: bytes, spec: ModelSpec) -> tuple[Floats, dict[str, Floats]]:
    """Declared sizes are believed only up to the size of a bundle."""
    with ZipFile(BytesIO(raw)) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > MAX_BYTES:
        raise ValueError(f"unpacks to {size} bytes, at most {MAX_BYTES} are allowed")
    with np.load(BytesIO(raw), allow_pickle=False) as stored:
        return stored["rows"], {o.name: stored[f"out_{o.name}"] for o in spec.outputs}


def _check_golden(
    golden: tuple[Floats, Mapping[str, Floats]], session: Session, spec: ModelSpec
) -> None:
    """All rows at once, and one alone: a graph may have been made for just so many rows."""
    rows, expected = golden
    for n in {len(rows), 1}:
        wanted = {name: answers[:n] for name, answers in expected.items()}
        try:
            found = session.run(rows[:n])
        except Exception as error:
            problem = f"fails on {n} of its golden rows: {error}"
            raise BundleMismatchError(spec.name, problem) from error
        for name, answers in wanted.items():
            if getattr(found[name], "shape", None) != answers.shape:
                raise BundleMismatchError(spec.name, f"answers {name} in another shape")
        worst = worst_difference(found, wanted)
        if worst > PARITY_LIMIT:
            raise ParityError(spec.name, worst, PARITY_LIMIT)
