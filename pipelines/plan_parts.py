"""The parts of a plan while it is being made: their names, who may write them, and their sum.

A part is named by its chunk and a digest of all that it depends on but the states. It is there
whole or not at all, so that whatever is there need not be made again.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from features.events.durable import fsync_directory, make_directory
from models.bundle import sha256_of
from pipelines import plan
from pipelines.audience import Audience
from pipelines.errors import PlanBusyError
from pipelines.plan_pool import Task
from pipelines.plan_record import Run

LOCK: Final = "lock"
TOGETHER: Final = 20  # parts in one row group of the plan


def digest_of(told: Any) -> str:
    """Of plain data."""
    return blake2b(orjson.dumps(told), digest_size=12).hexdigest()


def part_of(parts: Path, run: Run, number: int, digest: str) -> Path:
    """The place of a chunk's part."""
    return parts / f"{number:06d}-{digest_of([run.inputs, run.as_of, digest])}.parquet"


def missing_of(audience: Audience, size: int, named: Sequence[Path]) -> tuple[Iterator[Task], int]:
    """The chunks that have no part yet, and how many recipients are in those that have one."""
    is_there = [part.exists() for part in named]
    n_there = size * sum(is_there[:-1])
    if is_there and is_there[-1]:
        n_there += len(audience.rows) - size * (len(named) - 1)
    chunks = zip(audience.chunks(size), named, is_there, strict=True)
    return ((chunk, part) for chunk, part, is_made in chunks if not is_made), n_there


def merge(named: Sequence[Path], out: Path, run: Run) -> None:
    """The parts in order as one file, some of them in memory at a time."""
    scratch = out.with_name(f".{out.name}.tmp")
    with pq.ParquetWriter(scratch, plan.SCHEMA, compression="zstd") as writer:
        for begin in range(0, len(named), TOGETHER):
            some = [pq.ParquetFile(part).read() for part in named[begin : begin + TOGETHER]]
            table = pa.concat_tables(some)
            run.count(table)
            writer.write_table(table)
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    run.sha256 = sha256_of(scratch)
    scratch.replace(out)
    fsync_directory(out.parent)


@contextmanager
def alone(parts: Path, out: Path) -> Iterator[None]:
    """Nobody else makes this plan; whoever dies gives the place free."""
    make_directory(parts)
    descriptor = os.open(parts / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PlanBusyError(out) from None
    else:
        yield
    finally:
        os.close(descriptor)
