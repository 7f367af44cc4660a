"""Feast without its marks on the process: imported before anything else of Feast.

Importing Feast sets PROMETHEUS_MULTIPROC_DIR for this process and all its children, which makes
prometheus_client write its counters to files that nobody reads: a service started from here
would show none. So prometheus_client is imported first, and the variable is taken back.

Feast has typeguard parse and compile most of its classes anew for checks of types at run time:
six of the eight seconds that its import takes, in every command. Its classes stay as they are
written here; types are checked before it runs (decision 0037).
"""

import os
from typing import Any

import prometheus_client  # decides at its import where counters live
import typeguard

_NAME = "PROMETHEUS_MULTIPROC_DIR"
_before, _checking = os.environ.get(_NAME), typeguard.typechecked


def _as_written(target: Any = None, **_: Any) -> Any:
    """In the place of `typeguard.typechecked`, with arguments or without."""
    return _as_written if target is None else target


typeguard.typechecked = _as_written
import feast.metrics  # noqa: E402  after the above

typeguard.typechecked = _checking
if _before is None:
    os.environ.pop(_NAME, None)

MARKERS = (prometheus_client, feast.metrics)
