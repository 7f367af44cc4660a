"""Files of one JSON text a line, without the lines that name somebody.

A file is written anew beside its name and takes it by a rename; whoever appends to such a file
holds its lock while it writes and looks first whether it still is the file of that name.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from features.errors import StoreUnavailableError
from features.events.durable import fsync_directory

# What may stand inside a key: `r1` is named in `"r1"` and in `r1,clicked`, and not in `r10`.
_INSIDE: Final = r"[\w.\-]"


def word_of(recipient_keys: Iterable[str]) -> re.Pattern[str]:
    """Finds one of the keys where it stands alone in a text."""
    keys = "|".join(re.escape(key) for key in sorted(recipient_keys, key=len, reverse=True))
    return re.compile(rf"(?<!{_INSIDE})(?:{keys})(?!{_INSIDE})")


def spelt_out(text: str) -> str:
    """A JSON text with its characters as they are, escaped ones too; another text as it is."""
    try:
        return "\n".join(_texts_of(orjson.loads(text)))
    except ValueError:
        return text


def without_lines(path: Path, is_gone: Callable[[str], bool]) -> list[str]:
    """Write a file anew without some of its lines; those that are gone.

    Nothing happens to a file without such lines. Half a line at its end counts like a whole one.

    Args:
        is_gone: Asked about each line, without its end.

    Raises:
        StoreUnavailableError: The disk refuses; the file is as it was.
    """
    try:
        with locked(path) as is_there:
            if not is_there:
                return []
            lines = path.read_bytes().decode(errors="surrogateescape").split("\n")
            gone = [line for line in lines if line and is_gone(line)]
            if gone:
                known = set(gone)
                _replace(path, "\n".join(line for line in lines if line not in known))
    except OSError as error:
        remedy = "check that the disk has room and the directory is writable, then repeat it"
        raise StoreUnavailableError(str(path), str(error), remedy) from error
    return gone


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of the file of this name; False where there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_of_name(descriptor, path):
                yield True
                return
        finally:
            os.close(descriptor)


def is_of_name(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        named, opened = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.anew")
    with scratch.open("wb") as file:
        file.write(text.encode(errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    scratch.chmod(path.stat().st_mode)
    scratch.replace(path)
    fsync_directory(path.parent)


def _texts_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_of(item)
    elif value is not None:
        yield str(value)
