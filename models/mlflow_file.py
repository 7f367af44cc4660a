"""MLflow's SQLite file: there whole, or not at all.

MLflow makes its tables in some fifty steps and commits each. A process that is killed between two
of them leaves a file that no command can open again (`duplicate column name`). So the file is made
under another name, and gets its own when it is done.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from features.events.durable import exclusive, fsync_directory

_SCHEME: Final = "sqlite:///"


def is_missing(tracking_uri: str) -> bool:
    """Whether it names a file that is not there yet; of servers and other databases never."""
    path = Path(tracking_uri.removeprefix(_SCHEME))
    return tracking_uri.startswith(_SCHEME) and not (path.is_file() and path.stat().st_size > 0)


def make_database(tracking_uri: str, fill: Callable[[str], object]) -> None:
    """Make the file of a tracking URI where it is missing.

    Of several processes at once one makes it and the others wait.

    Args:
        fill: Makes the tables of a URI; it may keep the file open.
    """
    if not is_missing(tracking_uri):
        return
    path = Path(tracking_uri.removeprefix(_SCHEME))
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_name(f"{path.name}.lock")):
        if is_missing(tracking_uri):
            _make(path, fill)


def _make(path: Path, fill: Callable[[str], object]) -> None:
    for left in path.parent.glob(f".{path.name}.*.tmp*"):  # by somebody who was killed
        left.unlink()
    begun, whole = (path.with_name(f".{path.name}.{os.getpid()}.{n}.tmp") for n in (1, 2))
    fill(f"{_SCHEME}{begun}")
    # Who filled it may have it open, so what is renamed is a copy.
    with closing(sqlite3.connect(begun)) as made, closing(sqlite3.connect(whole)) as copy:
        made.backup(copy)
    begun.unlink()
    whole.replace(path)
    fsync_directory(path.parent)
