"""Context columns as numbers: what was known of a recipient before the arm was drawn.

Text becomes one column a value, for the few values that are frequent; no outcome is looked at, so
nothing leaks. A value that is rare stands in none of its columns, which is how it can be told.
"""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.off_policy_log import PolicyLogError

Floats = NDArray[np.float64]

MAX_VALUES: Final = 20  # columns that one text column becomes at most
MIN_SHARE: Final = 0.01  # a rarer value is too few rows to learn from


def encode(frame: pl.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    """Numbers of every column, shape (n, d), NaN where a value is missing; and d names.

    Raises:
        PolicyLogError: A column holds neither numbers, moments nor text.
    """
    columns: list[Floats] = []
    names: list[str] = []
    for column in frame.iter_columns():
        for name, values in _columns_of(column).items():
            names.append(name)
            columns.append(values)
    table = np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))
    return np.where(np.isfinite(table), table, np.nan), tuple(names)


def _columns_of(column: pl.Series) -> dict[str, Floats]:
    kind = column.dtype
    if kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean:
        plain = column.to_physical().cast(pl.Float64).fill_null(np.nan)
        return {column.name: plain.to_numpy().astype(np.float64)}
    if kind in (pl.String, pl.Categorical, pl.Enum):
        text = column.cast(pl.String)
        return {f"{column.name}={value}": _is(text, value) for value in _frequent(text)}
    if kind == pl.Null:
        return {}
    remedy = "write one plain value a row, or leave the column out"
    raise PolicyLogError(column.name, f"is {kind}", remedy)


def _frequent(text: pl.Series) -> list[str]:
    """The most frequent values in an order that does not depend on the rows' order."""
    counted = text.drop_nulls().value_counts(name="n").filter(pl.col("n") >= MIN_SHARE * len(text))
    ordered = counted.sort("n", text.name, descending=[True, False])
    return ordered[text.name].head(MAX_VALUES).to_list()


def _is(text: pl.Series, value: str) -> Floats:
    return (text == value).fill_null(value=False).to_numpy().astype(np.float64)
