"""The log of decisions as a table: what the service decided, to learn from and to judge by.

`serving.decision_log` writes one NDJSON file per day and process. A process that was killed may
leave half a line at the end of its file; that line is left out, whatever stands before it is read.

The same decision is there once per time it was asked for: a mail that is rendered twice has two
lines with one `decision_id`, equal but for `at` and what became known meanwhile, or became
impossible (`training.monitoring.outcomes` tells which of them counts). Nothing may be learnt from
rows that are `is_test`: test recipients and dry runs.
"""

from pathlib import Path
from typing import Final

import polars as pl

VERSION: Final = 2
SCHEMA: Final = pl.Schema(
    {
        "version": pl.Int32(),
        "decision_id": pl.String(),
        "recipient_key": pl.String(),
        "send_id": pl.String(),
        "slot": pl.String(),
        "at": pl.Int64(),  # microseconds, as in events
        "best_at": pl.Int64(),  # the chosen hour, seconds since 1970
        "default_at": pl.Int64(),
        "p_engage": pl.Float64(),
        "p_engage_default": pl.Float64(),
        "binding_constraint": pl.String(),
        "propensity_hour": pl.Float64(),
        "explored_hour": pl.Boolean(),
        "arm": pl.String(),  # personal or holdout
        "hold": pl.String(),  # why the mail had better not go out
        "propensity_hold": pl.Float64(),
        "p_churn": pl.Float64(),
        "band": pl.String(),
        "variant": pl.String(),  # empty without candidates
        "propensity": pl.Float64(),
        "explored": pl.Boolean(),
        "candidates": pl.List(pl.String),  # in the order shown
        "p_click": pl.List(pl.Float64),  # of each
        "send_time_version": pl.String(),
        "churn_version": pl.String(),
        "content_preference_version": pl.String(),
        "policy": pl.String(),
        "fallback": pl.String(),  # the worst reason
        "is_test": pl.Boolean(),
    }
)


def read(folder: Path) -> pl.LazyFrame:
    """Every whole line of every file; an empty frame where there is no folder."""
    frames = [pl.LazyFrame(schema=SCHEMA)]
    for file in sorted(folder.glob("*.ndjson")):
        whole = _whole_lines(file)
        if whole is None:
            frames.append(pl.scan_ndjson(file, schema=SCHEMA))
        elif whole:
            frames.append(pl.read_ndjson(whole, schema=SCHEMA).lazy())
    return pl.concat(frames)


def _whole_lines(file: Path) -> bytes | None:
    """What stands before a torn end, or None where the file ends as it should."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(size - 1, 0))
        if opened.read(1) == b"\n":
            return None
        opened.seek(0)
        return opened.read().rpartition(b"\n")[0]
