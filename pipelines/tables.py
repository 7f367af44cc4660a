"""Reading a table that a command was given: Parquet or CSV, complete, or an error in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import FileUnusableError

if TYPE_CHECKING:
    import polars as pl


def read_table(file: Path, needed: Sequence[str]) -> "pl.DataFrame":
    """The rows of a Parquet or CSV file that has at least the needed columns.

    Raises:
        FileUnusableError: It cannot be read, or a column is missing.
    """
    import polars as pl

    remedy = f"write Parquet or CSV with the columns {', '.join(needed)}"
    try:
        if file.suffix == ".parquet":
            rows = pl.read_parquet(file)
        else:
            rows = pl.read_csv(file, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise FileUnusableError(str(file), str(error), remedy) from error
    missing = [name for name in needed if name not in rows.columns]
    if missing:
        raise FileUnusableError(str(file), f"there is no column {missing[0]}", remedy)
    return rows


def refuse_unfit(file: Path, column: "pl.Series", *, is_number: bool) -> None:
    """Refuse a column that is no number where it must be one, is nested or has gaps.

    Raises:
        FileUnusableError: Names the column, and the first row that is empty.
    """
    if is_number and not column.dtype.is_numeric():
        problem = f"column {column.name} is {column.dtype}, not a number"
        raise FileUnusableError(str(file), problem, "write it as a floating-point column")
    if column.dtype.is_nested():
        problem = f"column {column.name} is {column.dtype}"
        raise FileUnusableError(str(file), problem, "write one plain value a row")
    if column.null_count():
        problem = f"column {column.name} is empty in row {column.is_null().arg_max()}"
        raise FileUnusableError(str(file), problem, "leave out rows that are not complete")
