"""Folders of runs: named by when they began, locked while their run lives, tidied in the end.

The kernel gives the lock back when its process dies. So a run without an end whose folder is free
was killed, whatever has its process id now.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from features.events.schema import DAY_US

KEEP_RUNS: Final = 1_000
KEEP_DAYS: Final = 90  # of whatever is more
_ID: Final = re.compile(r"\d{8}T\d{9}-[0-9a-f]{6}")


def stamp(micros: int) -> str:
    """Sorts by time: 20251108T093000125."""
    at = datetime.fromtimestamp(micros / 1e6, UTC)
    return f"{at:%Y%m%dT%H%M%S}{micros // 1_000 % 1_000:03d}"


def folders_in(runs_dir: Path) -> list[Path]:
    """Newest first; what has another name is not ours."""
    try:
        found = [path for path in runs_dir.iterdir() if _ID.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found, reverse=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While its run lives; others may look whether it is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits a moment for one who looks
        yield
    finally:
        os.close(descriptor)


def is_alive(folder: Path) -> bool:
    """Whether the process of a run lives; never waits."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def tidy(runs_dir: Path, *, now: int) -> None:
    """Remove runs that are neither among the last 1,000 nor of the last 90 days."""
    oldest = stamp(now - KEEP_DAYS * DAY_US)
    for folder in folders_in(runs_dir)[KEEP_RUNS:]:
        if folder.name < oldest and not is_alive(folder):
            shutil.rmtree(folder, ignore_errors=True)
