"""The rejects file: every row that was not accepted, once, with its reason, as NDJSON.

It is written beside its final name and takes it only when complete and durable, so an earlier
file stays until the new one is whole. Addresses are masked in it: the row number leads back to
the source, and a file that somebody mails around to ask for help must hold no person's address.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, Final

import orjson

from features.errors import FileUnusableError
from features.events.durable import fsync_directory, make_directory

MASK: Final = "(an address, not shown)"
NOT_SPLIT: Final = "(not shown: the row has no columns and one of the file is personal)"
_BETWEEN_WORDS: Final = re.compile(r"([\s,;|<>()\"'\[\]{}]+)")


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that was not accepted: `field` is "" when no single field is to blame."""

    row: int
    reason: str
    field: str
    message: str
    original: Any


class RejectsFile:
    """Where rejects go.

    Cells of `keys` columns are masked whole when they hold an @, those of `private` columns
    (hashed because they are personal) always.
    """

    def __init__(self, file: IO[bytes], *, keys: frozenset[str], private: frozenset[str]) -> None:
        self._file = file
        self._keys = keys
        self._private = private

    def write(self, reject: Reject) -> None:
        """Add one row; it is durable when `writing` ends."""
        line = {
            "row": reject.row,
            "reason": reject.reason,
            "field": masked(reject.field),
            "message": masked(reject.message),
            "original": self._original(reject.original),
        }
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def _original(self, original: Any) -> Any:
        if isinstance(original, Mapping):
            return {
                masked(str(_plain(name))): self._cell(name, original[name]) for name in original
            }
        # Without columns it cannot be told where the personal one is.
        return NOT_SPLIT if self._private else _plain(original)

    def _cell(self, name: str, cell: Any) -> Any:
        plain = _plain(cell)
        if name in self._private and plain not in (None, ""):
            return MASK
        return MASK if name in self._keys and MASK in str(plain) else plain


@contextmanager
def writing(
    path: Path, *, keys: frozenset[str] = frozenset(), private: frozenset[str] = frozenset()
) -> Iterator[RejectsFile]:
    """Write a rejects file; at the end it replaces the one of an earlier run, atomically.

    Raises:
        FileUnusableError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        make_directory(path.parent)
        _remove_leftovers(path)
        file = temporary.open("wb")
    except OSError as error:
        problem = error.strerror or str(error)
        raise FileUnusableError(str(path), problem, "name another file by --rejects") from error
    try:
        with file:
            yield RejectsFile(file, keys=keys, private=private)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def masked(text: str) -> str:
    """Text without addresses: each word with an @ is replaced.

    >>> masked("mail to <ann@example.org>, please")
    'mail to <(an address, not shown)>, please'
    """
    if "@" not in text:
        return text
    words = _BETWEEN_WORDS.split(text)
    return "".join(MASK if "@" in word else word for word in words)


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it, without addresses; long cells stay whole."""
    if isinstance(value, Mapping):
        return {masked(str(_plain(name))): _plain(cell) for name, cell in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool) or _is_json_number(value):
        return value
    if isinstance(value, bytes):
        return masked(value.decode(errors="backslashreplace"))
    text = value.isoformat() if isinstance(value, date) else str(value)
    return masked(text if text.isascii() else text.encode(errors="backslashreplace").decode())


def _is_json_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _remove_leftovers(path: Path) -> None:
    """Remove what runs that were killed left behind, but not the file of a living one."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        owner = leftover.name.split(".")[-2]
        if owner.isdecimal() and not _is_alive(int(owner)):
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
