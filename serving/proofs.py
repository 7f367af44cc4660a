"""Proofs of what was erased, and which models were trained before it: the watermark.

    erasures/<id>.json    when, how much from which store, tombstones, the audit log's head

A proof names nobody: a tombstone is a keyed digest. Erasures are numbered by
the log; a model tells up to which number they were over when its training began to read. It has
seen an erased recipient when it knew their first event and read before their erasure was over; it
is due to be trained anew within `RETRAIN_WITHIN_DAYS`. Where a model or a proof of earlier versions
tells no number, the moment it was trained as of stands for when it read.
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
    """What was done, and when; times in microseconds, `first_at` zero where no event was there.

    `number` is the log's of the erasure, None in proofs of earlier versions.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    erased_at: int
    first_at: int
    tombstones: list[str]
    stores: dict[str, int]
    is_verified: bool
    audit_seq: int
    audit_hash: str
    number: int | None = None


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


def watermark(
    as_of: str, known: Sequence[Proof], *, n_erasures: int | str | None = None
) -> Watermark:
    """How a model stands to erasures.

    Args:
        as_of: The moment that it was trained as of, as its manifest tells it.
        n_erasures: How many erasures were over when its training began to read the log, also as
            a tag tells it; None or empty where it is not told.
    """
    before = None if n_erasures in {None, ""} else int(n_erasures or 0)
    try:
        at = datetime.strptime(as_of, _AS_OF).replace(tzinfo=UTC).timestamp() * SECOND_US
    except ValueError:
        return Watermark()
    # A manifest tells the minute: what happened within it may have been seen.
    seen = [
        proof
        for proof in known
        if proof.first_at and proof.first_at < at + 60 * SECOND_US and _had_read(before, at, proof)
    ]
    if not seen:
        return Watermark()
    oldest = min(proof.erased_at for proof in seen) / SECOND_US
    by = datetime.fromtimestamp(oldest, UTC) + timedelta(days=RETRAIN_WITHIN_DAYS)
    people = {digest for proof in seen for digest in proof.tombstones}
    return Watermark(len(people), by.date().isoformat())


def _had_read(n_erasures: int | None, at: float, proof: Proof) -> bool:
    """Whether a training began to read before an erasure was over."""
    if n_erasures is None or proof.number is None:
        return at <= proof.erased_at
    return n_erasures < proof.number
