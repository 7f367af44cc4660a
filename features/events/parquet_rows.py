"""Parquet row by row, in bounded memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import FileUnusableError, RejectReason
from features.events.cells import Row
from features.events.unreadable import Unreadable

_BATCH_ROWS: Final = 10_000

Rows = Iterator[tuple[int, Row | Unreadable]]
Position = Callable[[], tuple[int, int]]


def parquet_rows(path: Path, raw: IO[bytes]) -> tuple[tuple[str, ...], Rows, Position]:
    """The columns, the rows by number and the position (in rows) of a Parquet file.

    Raises:
        FileUnusableError: It is not Parquet.
    """
    try:
        file = pq.ParquetFile(raw)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    done = 0

    def rows() -> Rows:
        nonlocal done
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                for row in _rows_of(batch):
                    done += 1
                    yield done, row
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error

    return tuple(file.schema_arrow.names), rows(), lambda: (done, file.metadata.num_rows)


def _damaged(path: Path, error: Exception) -> FileUnusableError:
    problem = f"it cannot be read as Parquet ({str(error).splitlines()[0]})"
    return FileUnusableError(str(path), problem, "write the file again and repeat the import")


def _rows_of(batch: Any) -> Iterator[Row | Unreadable]:
    names = batch.schema.names
    columns = [_cells(column) for column in batch.columns]
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        broken = [name for name, cell in row.items() if isinstance(cell, _Undecodable)]
        if broken:
            message = f"{', '.join(broken)}: the bytes are not UTF-8; write UTF-8"
            yield Unreadable(RejectReason.BAD_ENCODING, message, row)
        else:
            yield row


class _Undecodable(bytes):
    """Bytes in a text column that are not UTF-8."""


def _cells(column: Any) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's datetime ends at microseconds; so do our times.
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # one cell is not UTF-8, or a year beyond 9999
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        is_text = isinstance(scalar, pa.StringScalar | pa.LargeStringScalar)
        return _Undecodable(scalar.as_buffer().to_pybytes() if is_text else b"(a nested text)")
    except (ValueError, OverflowError):
        return str(getattr(scalar, "value", "(not readable)"))
