"""What a cell of an imported row says: as text, as a number, as a list of texts.

Cells come from CSV (always text), NDJSON (JSON values) and Parquet (timestamps, decimals, NaN).
None, NaN and blank text all mean that nothing is there.
"""

import json
import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

from features.errors import EventRejectedError, RejectReason

Row = Mapping[str, Any]
"""One row of a file: cells by column."""


def is_missing(cell: object) -> bool:
    """Whether a cell says nothing."""
    if isinstance(cell, str):
        return not cell or cell.isspace()
    return cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell))


def text_of(cell: object, field: str) -> str:
    """A cell as trimmed text; a whole number that a table stores as 17850.0 becomes "17850".

    Raises:
        EventRejectedError: The cell is a list, an object, or bytes that are not UTF-8.
    """
    if isinstance(cell, str):
        return cell.strip()
    if is_missing(cell):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float | Decimal):
        whole = math.isfinite(cell) and cell == int(cell)
        return str(int(cell)) if whole else str(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    return _decoded(cell, field)


def number_of(cell: object, field: str) -> float | None:
    """A cell as a number, None where nothing is there; NaN written out is not "nothing".

    Raises:
        EventRejectedError: The cell is not a number, or not a finite one.
    """
    if cell is None or (isinstance(cell, str) and (not cell or cell.isspace())):
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float | str | Decimal):
        raise EventRejectedError(RejectReason.BAD_VALUE, field, cell, "a number is needed here")
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        raise EventRejectedError(
            RejectReason.BAD_VALUE, field, cell, "a number is needed here"
        ) from None
    if not math.isfinite(number):
        raise EventRejectedError(
            RejectReason.NOT_FINITE, field, cell, "a finite number is needed here"
        )
    return number


def texts_of(cell: object, field: str, *, separator: str | None = None) -> list[str]:
    """A cell as a list of texts.

    Without a separator a JSON list, or else text with `|` between the entries.

    Raises:
        EventRejectedError: Text that starts as a JSON list but is none.
    """
    if isinstance(cell, list | tuple):
        return [text_of(item, field) for item in cell if not is_missing(item)]
    text = text_of(cell, field)
    if separator is None and text.startswith("["):
        return texts_of(_parsed(text, field, list), field)
    return [part for item in text.split(separator or "|") if (part := item.strip())]


def object_of(cell: object, field: str) -> dict[str, Any]:
    """A cell as a JSON object, {} where nothing is there.

    Raises:
        EventRejectedError: The cell is neither an object nor the text of one.
    """
    if isinstance(cell, dict):
        return cell
    if is_missing(cell):
        return {}
    parsed: dict[str, Any] = _parsed(text_of(cell, field), field, dict)
    return parsed


def plain_of(cell: object, field: str) -> Any:
    """A cell as a property: numbers and truth values stay, all else becomes text."""
    if is_missing(cell):
        return None
    return cell if isinstance(cell, bool | int | float) else text_of(cell, field)


def json_of(line: bytes) -> Any:
    """What a line of JSON says; NaN and Infinity, as Python writes them, are understood.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return orjson.loads(line)
    except ValueError:
        if b"NaN" not in line and b"Infinity" not in line:
            raise
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _decoded(cell: object, field: str) -> str:
    if not isinstance(cell, bytes):
        remedy = "a single value is needed here"
        raise EventRejectedError(RejectReason.BAD_VALUE, field, cell, remedy)
    try:
        return cell.decode().strip()
    except UnicodeDecodeError:
        raise EventRejectedError(RejectReason.BAD_ENCODING, field, cell, "send UTF-8") from None


def _parsed(text: str, field: str, kind: type) -> Any:
    name = "list" if kind is list else "object"
    try:
        value = orjson.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise EventRejectedError(RejectReason.BAD_VALUE, field, text, f"send a JSON {name}")
    return value
