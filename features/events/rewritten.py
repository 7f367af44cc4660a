"""A log that was rewritten while it was read: an erasure takes Parquet parts from under a scan."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from features.errors import StoreUnavailableError

_PART: Final = re.compile(r"(?P<root>[^\s'\"]*)/parquet/day=[\d-]+/part-\d+-\d+\.parquet")


@contextmanager
def rewriting_named() -> Iterator[None]:
    """Say what it means that a part of an event log is gone; any other missing file stays one.

    A scan is lazy: it opens its parts when it is collected, long after it was asked for.

    Raises:
        StoreUnavailableError: A part was there when the log was scanned and is there no more.
    """
    try:
        yield
    except FileNotFoundError as error:
        found = _PART.search(str(error))
        if found is None:
            raise
        problem = "it was rewritten meanwhile, by an erasure or `opportune retain`"
        raise StoreUnavailableError(
            f"event log {found['root']}", problem, "run the same once more"
        ) from error
