"""Proofs of what was erased, and which models were trained before it: the watermark.

    erasures/<id>.json    when, how much from which store, tombstones, the audit log's head

A proof names nobody: a tombstone is a keyed digest. A model has seen an erased recipient when it
was trained as of a moment between their first event and their erasure; it is due to be trained
anew within `RETRAIN_WITHIN_DAYS`.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from features.errors import StoreUnavailableError
from features.events.durable import fsync_directory
from features.events.schema import SECOND_US

RETRAIN_WITHIN_DAYS: Final = 30  # "one month", GDPR article 12(3)
_AS_OF: Final = "%Y-%m-%d %H:%M UTC"


class Proof(BaseModel):
    """What was done, and when; times in microseconds, `first_at` zero where no event was there."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    erased_at: int
    first_at: int
    tombstones: list[str]
    stores: dict[str, int]
    is_verified: bool
    audit_seq: int
    audit_hash: str


@dataclass(frozen=True, slots=True)
class Watermark:
    """How a model stands to erasures: how many it has seen, by when it is to be trained anew.

    `retrain_by` is a date in ISO 8601, empty where nobody was erased since.
    """

    n_erased: int = 0
    retrain_by: str = ""


def write_proof(folder: Path, proof: Proof) -> str:
    """Write a proof durably; gives its id.

    Raises:
        StoreUnavailableError: The disk refuses.
    """
    moment = datetime.fromtimestamp(proof.erased_at / SECOND_US, UTC).strftime("%Y%m%dT%H%M%SZ")
    named = f"{moment}-{secrets.token_hex(4)}"
    scratch = folder / f".{named}.tmp"
    try:
        with scratch.open("w") as file:
            file.write(proof.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(folder / f"{named}.json")
        fsync_directory(folder)
    except OSError as error:
        remedy = "everything is erased; do the same again to have the proof"
        raise StoreUnavailableError(str(folder), str(error), remedy) from error
    return named


def proofs(folder: Path) -> list[Proof]:
    """Every proof, oldest first; one that cannot be read is left out."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            found.append(Proof.model_validate_json(file.read_bytes()))
        except (OSError, ValidationError):
            continue
    return found


def watermark(as_of: str, known: Sequence[Proof]) -> Watermark:
    """How a model trained as of a moment, as its manifest tells it, stands to erasures."""
    try:
        at = datetime.strptime(as_of, _AS_OF).replace(tzinfo=UTC).timestamp() * SECOND_US
    except ValueError:
        return Watermark()
    # A manifest tells the minute: what happened within it may have been seen.
    seen = [
        proof
        for proof in known
        if proof.first_at and proof.first_at < at + 60 * SECOND_US and at <= proof.erased_at
    ]
    if not seen:
        return Watermark()
    oldest = min(proof.erased_at for proof in seen) / SECOND_US
    by = datetime.fromtimestamp(oldest, UTC) + timedelta(days=RETRAIN_WITHIN_DAYS)
    people = {digest for proof in seen for digest in proof.tombstones}
    return Watermark(len(people), by.date().isoformat())
