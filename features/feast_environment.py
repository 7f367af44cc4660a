"""Feast without its mark on the process: imported before anything else of Feast.

Importing Feast sets PROMETHEUS_MULTIPROC_DIR for this process and all its children, which makes
prometheus_client write its counters to files that nobody reads: a service started from here
would show none. So prometheus_client is imported first, and the variable is taken back.
"""

import os

import prometheus_client  # decides at its import where counters live

_NAME = "PROMETHEUS_MULTIPROC_DIR"
_before = os.environ.get(_NAME)

import feast.metrics  # noqa: E402  after the above

if _before is None:
    os.environ.pop(_NAME, None)

MARKERS = (prometheus_client, feast.metrics)
