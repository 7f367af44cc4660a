"""Files of events, row by row: CSV and NDJSON (also as .gz) and Parquet.

A row that cannot be read is handed on as `Unreadable` and concerns no other row. Rows are
numbered from 1 (in NDJSON by line), so that the same file always gives the same numbers.
"""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from features.errors import FileUnusableError, RejectReason
from features.events.cells import Row, json_of
from features.events.csv_rows import csv_rows
from features.events.mapping import CsvDialect
from features.events.parquet_rows import parquet_rows
from features.events.unreadable import Unreadable

KINDS: Final = (".csv", ".csv.gz", ".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz", ".parquet")
_LARGEST_LINE: Final = 64_000_000
_SAMPLE_ROWS: Final = 1_000

Numbered = tuple[int, Row | Unreadable]


@dataclass(frozen=True, slots=True)
class RowFile:
    """An open file: its columns, its rows, and how far the reading has come.

    `columns` of NDJSON are those of its first 1,000 objects. `position` gives what is read and
    what there is, in bytes of the file or in rows.
    """

    columns: tuple[str, ...]
    rows: Iterator[Numbered]
    position: Callable[[], tuple[int, int]]


@contextmanager
def open_rows(path: Path, *, csv: CsvDialect | None = None) -> Iterator[RowFile]:
    """Open a file of events by its ending.

    Raises:
        FileUnusableError: The ending is not known, the file is not what its ending says, or it
            breaks off; in the last case the rows before the break have been given.
    """
    name = path.name.lower()
    kind = next((kind for kind in KINDS if name.endswith(kind)), None)
    if kind is None:
        raise FileUnusableError(
            str(path), "its ending names no kind of file that can be read",
            f"rename or convert it to one of: {' '.join(KINDS)}",
        )  # fmt: skip
    try:
        raw = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with raw:
        if kind == ".parquet":
            yield RowFile(*parquet_rows(path, raw))
            return
        size = os.fstat(raw.fileno()).st_size
        stream: Any = gzip.GzipFile(fileobj=raw) if kind.endswith(".gz") else raw
        lines = _lines(path, stream)
        if kind.startswith(".csv"):
            columns, rows = csv_rows(str(path), lines, csv or CsvDialect())
        else:
            columns, rows = _ndjson(lines)
        yield RowFile(columns, rows, lambda: (raw.tell(), size))


def _unreadable(path: Path, error: OSError) -> FileUnusableError:
    problem = error.strerror or str(error)
    return FileUnusableError(str(path), problem, "give a file that can be read")


def _lines(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    try:
        while line := stream.readline(_LARGEST_LINE):
            if len(line) == _LARGEST_LINE:
                raise FileUnusableError(
                    str(path), "a line is longer than 64 MB", "check that the file is what it says"
                )
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileUnusableError(
            str(path), f"it cannot be unpacked any further ({error})",
            "fetch it again and repeat the import; rows that are in already are not doubled",
        ) from error  # fmt: skip
    except OSError as error:
        raise _unreadable(path, error) from error


def _ndjson(lines: Iterator[bytes]) -> tuple[tuple[str, ...], Iterator[Numbered]]:
    rows = _objects(lines)
    sample = list(islice(rows, _SAMPLE_ROWS))
    readable = (row for _, row in sample if not isinstance(row, Unreadable))
    columns = tuple(dict.fromkeys(name for row in readable for name in row))

    def again() -> Iterator[Numbered]:
        yield from sample
        sample.clear()
        yield from rows

    return columns, again()


def _objects(lines: Iterator[bytes]) -> Iterator[Numbered]:
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - the mark is no content
        if line.isspace():
            continue
        try:
            value = json_of(line)
        except ValueError as error:
            yield number, _not_json(line, error)
            continue
        if isinstance(value, dict):
            yield number, value
        else:
            message = "the line is JSON but not an object; write one object per line"
            yield number, Unreadable(RejectReason.UNREADABLE_ROW, message, value)


def _not_json(line: bytes, error: ValueError) -> Unreadable:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        message = "the line is not UTF-8; write UTF-8"
        return Unreadable(RejectReason.BAD_ENCODING, message, line.rstrip(b"\r\n"))
    message = f"the line is not JSON ({str(error).splitlines()[0]}); write one object per line"
    return Unreadable(RejectReason.UNREADABLE_ROW, message, text.rstrip("\r\n"))
