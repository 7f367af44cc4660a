"""The newest decisions for one recipient, looked for in the log of decisions: from the end, so far.

The log is files of lines and has no index. A look reads the newest bytes of it backwards and stops
when it has found enough or read as much as it may; it says which of the two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

MOST_FOUND: Final = 40
MOST_BYTES: Final = 16_000_000  # some 20,000 decisions, read in 30 ms
_BLOCK: Final = 256_000
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decided:
    """What was found.

    Args:
        records: As `features.decisions` describes them, newest first.
        n_lines: How many were looked at.
        is_whole: Whether the search came to the beginning of the log.
    """

    records: list[Record]
    n_lines: int
    is_whole: bool


def decided(
    folder: Path, recipient_key: str, *, most: int = MOST_FOUND, most_bytes: int = MOST_BYTES
) -> Decided:
    """The newest decisions for a recipient; none where there is no log.

    Of several processes that write at once the one that wrote last is read first.
    """
    named = b'"recipient_key":' + orjson.dumps(recipient_key)
    found: list[Record] = []
    n_lines, left, is_whole = 0, most_bytes, True
    day = ""
    for file in sorted(folder.glob("*.ndjson"), key=_age, reverse=True):
        if len(found) >= most and file.name[:10] != day:
            return Decided(_newest(found, most), n_lines, is_whole=False)
        day, n_before = file.name[:10], len(found)
        for line in _backwards(file):
            if left < len(line) or len(found) - n_before >= most:
                is_whole = False
                break
            left -= len(line) + 1
            n_lines += 1
            if named in line:
                found += _record(line, recipient_key)
    return Decided(_newest(found, most), n_lines, is_whole=is_whole)


def _age(file: Path) -> tuple[str, float]:
    """The day in the name, then who wrote last; a file that is gone meanwhile is the oldest."""
    try:
        return file.name[:10], file.stat().st_mtime
    except OSError:
        return "", 0.0


def _backwards(file: Path) -> Iterator[bytes]:
    """Whole lines from the last to the first; nothing of a file that cannot be read."""
    try:
        with file.open("rb") as opened:
            place, rest = opened.seek(0, 2), b""
            while place > 0:
                size = min(_BLOCK, place)
                place = opened.seek(place - size)
                rest, *lines = (opened.read(size) + rest).split(b"\n")
                yield from filter(None, reversed(lines))
            if rest:
                yield rest
    except OSError:
        return


def _record(line: bytes, recipient_key: str) -> list[Record]:
    """One record, or none of a torn line and of a line that only mentions the key."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return []
    is_theirs = isinstance(record, dict) and record.get("recipient_key") == recipient_key
    return [record] if is_theirs else []


def _newest(found: list[Record], most: int) -> list[Record]:
    return sorted(found, key=lambda record: record.get("at", 0), reverse=True)[:most]
