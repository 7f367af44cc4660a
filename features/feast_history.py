"""Days of the history views: a Parquet file each, which says what definitions made it."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from features.events.schema import SECOND_US
from features.feast_objects import history_view_name, source_file, stamped, write_source
from features.layout import layout_of
from features.spec import FeatureView

_MADE_BY: Final = "definitions"


def day_of(moment: int) -> str:
    """The day that a midnight begins, as the name of its file: 2026-01-31."""
    return datetime.fromtimestamp(moment / SECOND_US, UTC).date().isoformat()


def has_day(folder: Path, view: FeatureView, moment: int) -> bool:
    """Whether a midnight is there, as the definitions of today make it."""
    file = source_file(history_view_name(view), folder, day=day_of(moment))
    return file.exists() and pl.read_parquet_metadata(file).get(_MADE_BY) == _definitions(view)


def write_day(folder: Path, view: FeatureView, moment: int, rows: pl.DataFrame) -> None:
    """Put a midnight in place, whole.

    Args:
        rows: The join key, `at` (the midnight, microseconds) and the view's features.
    """
    about = {_MADE_BY: _definitions(view)}
    name, day = history_view_name(view), day_of(moment)
    write_source(stamped(rows), name, folder, day=day, about=about)


def _definitions(view: FeatureView) -> str:
    """Of everything that decides what a number of the view means."""
    told = [f"{feature.name}: {feature.describe()}" for feature in view.features]
    text = "\n".join([f"{layout_of(view).digest:08x}", *told])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
