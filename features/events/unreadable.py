"""A row that could not be read as cells."""

from dataclasses import dataclass
from typing import Any

from features.errors import RejectReason


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a row gives no cells, and what stands there: text, bytes, or cells as far as known."""

    reason: RejectReason
    message: str
    original: Any
