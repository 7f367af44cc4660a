"""CSV row by row, so that one broken row costs one row.

Lines are decoded one at a time: bytes of another encoding break their own row only. A quote
that is never closed swallows the lines after it; they are given back (see `_resume_at`).
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from features.errors import FileUnusableError, RejectReason
from features.events.cells import Row
from features.events.mapping import CsvDialect
from features.events.unreadable import Unreadable

_LARGEST_CELL: Final = 4_000_000  # characters; an unclosed quote is noticed at the latest here
_ESCAPED_BYTE: Final = re.compile("[\ud800-\udfff]")


def csv_rows(
    file: str, lines: Iterator[bytes], dialect: CsvDialect
) -> tuple[tuple[str, ...], Iterator[tuple[int, Row | Unreadable]]]:
    """The columns of a CSV file and its rows by number; empty lines are no rows.

    Raises:
        FileUnusableError: There is no header, or it names a column twice or not at all.
    """
    # The limit is one per process; ours is above the one of Python, so nobody is restricted.
    csv.field_size_limit(max(_LARGEST_CELL, csv.field_size_limit()))
    decoded = _Lines(lines, dialect.encoding)
    header, problem = decoded.parse(dialect.delimiter)
    columns = tuple(name.strip() for name in header or ())
    if problem or not columns or decoded.is_broken:
        raise FileUnusableError(
            file, problem or "it has no header in " + dialect.encoding,
            "write the names of the columns into the first line, or set `csv: {encoding: ...}`",
        )  # fmt: skip
    if len(set(columns)) < len(columns) or "" in columns:
        raise FileUnusableError(
            file, f"its header names a column twice or not at all: {', '.join(columns)}",
            "give each column a name of its own",
        )  # fmt: skip
    return columns, _rows(decoded, columns, dialect.delimiter)


def _rows(
    lines: "_Lines", columns: tuple[str, ...], delimiter: str
) -> Iterator[tuple[int, Row | Unreadable]]:
    number = 0
    while True:
        cells, problem = lines.parse(delimiter)
        if cells is None and problem is None:
            return
        if cells == []:
            continue
        number += 1
        if problem is None and cells is not None and len(cells) != len(columns):
            problem = f"it has {len(cells)} cells, the header has {len(columns)}"
        if problem is not None:
            used = lines.give_back_from(_resume_at(lines.used, len(columns), delimiter))
            text = "".join(used).rstrip("\r\n").encode(lines.encoding, "surrogateescape")
            message = f"the row cannot be read: {problem}; check its quotes and delimiters"
            reason = RejectReason.BAD_ENCODING if lines.is_broken else RejectReason.UNREADABLE_ROW
            yield number, Unreadable(reason, message, text)
        elif lines.is_broken and cells is not None:
            yield number, _badly_encoded(dict(zip(columns, cells, strict=True)), lines.encoding)
        elif cells is not None:
            yield number, dict(zip(columns, cells, strict=True))


def _badly_encoded(row: dict[str, str], encoding: str) -> Unreadable:
    original = {name: cell.encode(encoding, "surrogateescape") for name, cell in row.items()}
    broken = [name for name, cell in row.items() if not _is_sound(cell)]
    message = f"{', '.join(broken)}: the bytes are not {encoding}; set `csv: {{encoding: ...}}`"
    return Unreadable(RejectReason.BAD_ENCODING, message, original)


def _is_sound(text: str) -> bool:
    return text.isascii() or _ESCAPED_BYTE.search(text) is None


def _resume_at(used: list[str], width: int, delimiter: str) -> int:
    """Which of the lines of an unreadable row starts the next one.

    The first that reads as a whole row by itself: then the quote was not closed, and what it
    swallowed is not lost. Otherwise all lines belong to the row.
    """
    for index, line in enumerate(used[1:], 1):
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True))
        except (csv.Error, StopIteration):
            continue
        if len(cells) == width:
            return index
    return len(used)


class _Lines:
    """Decoded lines that can be given back, and which of them the last row was made of."""

    def __init__(self, lines: Iterator[bytes], encoding: str) -> None:
        self.encoding = encoding
        self.used: list[str] = []
        self._lines = lines
        self._again: deque[str] = deque()
        self._is_first = True

    @property
    def is_broken(self) -> bool:
        """Whether the lines of the last row hold bytes that are not of the encoding."""
        return not all(map(_is_sound, self.used))

    def parse(self, delimiter: str) -> tuple[list[str] | None, str | None]:
        """The cells of the next row or why there are none; (None, None) at the end."""
        self.used = []
        try:
            return next(csv.reader(self, delimiter=delimiter, strict=True)), None
        except StopIteration:
            return None, None
        except csv.Error as error:
            return None, str(error)

    def give_back_from(self, index: int) -> list[str]:
        """Let the lines of the last row from `index` on be read again; gives those before it."""
        self._again.extendleft(reversed(self.used[index:]))
        self.used = self.used[:index]
        return self.used

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._decode(next(self._lines))
        self.used.append(line)
        return line

    def _decode(self, line: bytes) -> str:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line.decode(self.encoding, "surrogateescape")
