"""The Parquet copy of the event log: written crash-safe, read without gap or overlap.

A range of offsets is first planned in SQLite, then written (one part per UTC day of receipt),
then marked done. Readers take from Parquet the ranges that are done and from SQLite the rest,
both as of one moment, so they never see half a range. A crash leaves a planned range, which is
written again under the same names. Only `done` ranges count, whatever files lie around.
"""

import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from features.errors import StoreUnavailableError
from features.events.database import COLUMNS, SELECT, connect, errors_named, transaction
from features.events.durable import exclusive, fsync_directory, make_directory
from features.events.schema import DAY_US

RANGE_ROWS: Final = 500_000
_PAGE_ROWS: Final = 20_000
_PART: Final = re.compile(r"part-(\d+)-(\d+)\.parquet")

SCHEMA: Final = pl.Schema(
    {
        "offset": pl.Int64(),
        **{name: pl.String() for name in COLUMNS},
        "occurred_at": pl.Int64(),
        "received_at": pl.Int64(),
        "topics": pl.List(pl.String()),
        "value": pl.Float64(),
        "utc_offset_min": pl.Int16(),
        "schema_version": pl.Int16(),
    }
)
"""The columns of `scan`: times in microseconds, null for a value or local clock not known,
`actor_reasons` and `properties` as JSON text."""

_STORED: Final = pl.Schema({**SCHEMA, "topics": pl.String()})


@dataclass(frozen=True, slots=True)
class _Range:
    """Offsets `first` to `last`, both in; `parts` is how many files hold them."""

    first: int
    last: int
    parts: int = 0


def compact(root: Path) -> int:
    """Copy every event that is not yet in Parquet there; gives the number of rows copied.

    Also makes parts again that were lost. Needs memory for one range (500,000 rows).

    Raises:
        StoreUnavailableError: SQLite or the disk refuses; the next call goes on from there.
    """
    connection = connect(root)
    if connection is None:
        return 0
    moved = 0
    with errors_named(root), closing(connection), exclusive(root / "compact.lock"):
        _plan_lost_again(connection, root)
        while planned := _next_range(connection):
            frame = _frame(connection, [planned])
            parts = _write_parts(frame, root / "parquet", planned)
            connection.execute(
                "UPDATE compactions SET state = 'done', parts = ? WHERE first = ?",
                (parts, planned.first),
            )
            moved += frame.height
    return moved


def scan(root: Path, *, as_of: int | None) -> pl.LazyFrame:
    """The events as one lazy frame of `SCHEMA`; see `EventLog.scan`.

    Raises:
        StoreUnavailableError: A Parquet part is gone.
    """
    connection = connect(root)
    if connection is None:
        return pl.LazyFrame(schema=SCHEMA)
    with errors_named(root), closing(connection), transaction(connection, is_writer=False):
        done = _ranges(connection, "done")
        rest = _frame(connection, _between(done), as_of=as_of)
    frames = [rest.lazy()]
    if parts := _parts_of(root, done):
        frames.insert(0, pl.scan_parquet(parts, schema=SCHEMA, hive_partitioning=False))
    rows = pl.concat(frames)
    if as_of is None:
        return rows
    return rows.filter(pl.col("received_at") < as_of, pl.col("occurred_at") < as_of)


def _next_range(connection: sqlite3.Connection) -> _Range | None:
    """The range to write now: one that a crash left planned, or the next one, newly planned."""
    if planned := _ranges(connection, "planned"):
        return planned[0]
    with transaction(connection, is_writer=True):
        covered = connection.execute("SELECT ifnull(max(last), 0) FROM compactions").fetchone()[0]
        head = connection.execute('SELECT ifnull(max("offset"), 0) FROM events').fetchone()[0]
        if head <= covered:
            return None
        chosen = _Range(covered + 1, min(head, covered + RANGE_ROWS))
        connection.execute(
            "INSERT INTO compactions VALUES (?, ?, 'planned', 0)", (chosen.first, chosen.last)
        )
    return chosen


def _ranges(connection: sqlite3.Connection, state: str) -> list[_Range]:
    query = "SELECT first, last, parts FROM compactions WHERE state = ? ORDER BY first"
    return [_Range(*row) for row in connection.execute(query, (state,))]


def _between(done: list[_Range]) -> list[_Range]:
    """The offsets that no range of `done` covers, the open end included.

    >>> _between([_Range(1, 5), _Range(9, 9)])[0]
    _Range(first=6, last=8, parts=0)
    """
    starts = [1, *(range_.last + 1 for range_ in done)]
    ends = [*(range_.first - 1 for range_ in done), 2**63 - 1]
    return [_Range(a, b) for a, b in zip(starts, ends, strict=True) if a <= b]


def _frame(
    connection: sqlite3.Connection, ranges: list[_Range], *, as_of: int | None = None
) -> pl.DataFrame:
    query = f'{SELECT} WHERE "offset" BETWEEN ? AND ? AND received_at < ? AND occurred_at < ?'
    before = 2**63 - 1 if as_of is None else as_of
    pages = [pl.DataFrame(schema=_STORED)]
    for range_ in ranges:
        cursor = connection.execute(
            f'{query} ORDER BY "offset"', (range_.first, range_.last, before, before)
        )
        while rows := cursor.fetchmany(_PAGE_ROWS):
            pages.append(pl.DataFrame(rows, schema=_STORED, orient="row"))
    # One chunk: a frame of many small chunks is slow to partition and to scan.
    frame = pl.concat(pages, rechunk=True)
    return frame.with_columns(pl.col("topics").str.json_decode(pl.List(pl.String)))


def _write_parts(frame: pl.DataFrame, parquet: Path, range_: _Range) -> int:
    """Write one file per day; each appears whole or not at all, and all are durable at the end."""
    days = frame.with_columns(day=pl.col("received_at") // DAY_US).partition_by(
        "day", as_dict=True, include_key=False
    )
    name = f"part-{range_.first}-{range_.last}.parquet"
    for (number,), rows in days.items():
        day = pl.Series([number]).cast(pl.Date).dt.to_string()[0]
        folder = parquet / f"day={day}"
        make_directory(folder)
        temporary = folder / f".{name}.tmp"
        with temporary.open("wb") as file:
            rows.write_parquet(file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
        fsync_directory(folder)
    return len(days)


def _part_files(root: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    for path in sorted((root / "parquet").glob("day=*/part-*.parquet")):
        if match := _PART.fullmatch(path.name):
            yield (int(match[1]), int(match[2])), path


def _parts_of(root: Path, done: list[_Range]) -> list[Path]:
    wanted = {(range_.first, range_.last): range_ for range_ in done}
    files = [(span, path) for span, path in _part_files(root) if span in wanted]
    found = Counter(span for span, _ in files)
    for span, range_ in wanted.items():
        if found[span] != range_.parts:
            raise StoreUnavailableError(
                f"event log {root}",
                f"{found[span]} of {range_.parts} Parquet parts of offsets {span} are there",
                "compact the log: it makes lost parts again from SQLite",
            )
    return [path for _, path in files]


def _plan_lost_again(connection: sqlite3.Connection, root: Path) -> None:
    found = Counter(span for span, _ in _part_files(root))
    for range_ in _ranges(connection, "done"):
        if found[range_.first, range_.last] != range_.parts:
            connection.execute(
                "UPDATE compactions SET state = 'planned' WHERE first = ?", (range_.first,)
            )
