"""What a crash must not undo: fsynced files, atomic replacement, one worker at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fsync_directory(directory: Path) -> None:
    """Make the names in a directory durable; a rename is lost by a power cut before this."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create a directory and its parents so that a power cut does not take them away again."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in missing:
        fsync_directory(path.parent)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file; others, in this or another process, wait until it is free.

    The kernel gives the lock back when its holder dies, so a crash never leaves it locked.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
