"""A person's corrections of who acted: a CSV with event_id, actor and, maybe, reason."""

import csv
from pathlib import Path
from typing import Final, NamedTuple

from features.errors import FileUnusableError, shown
from features.events.actors import ActorReason, Label
from features.events.schema import ACTORS

MAX_REASON_CHARS: Final = 256


class Verdict(NamedTuple):
    """What a person says of one event."""

    event_id: str
    label: Label


def read_verdicts(file: Path) -> list[Verdict]:
    """All corrections of a file, in order; none of them is taken when one is wrong.

    Raises:
        FileUnusableError: The file cannot be read, a column is missing, or a line has no
            event_id or an actor that is none; the error names the line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = csv.DictReader(opened, strict=True)
            missing = {"event_id", "actor"} - set(lines.fieldnames or ())
            if missing:
                problem = f"there is no column {min(missing)}"
                raise FileUnusableError(str(file), problem, "begin with event_id,actor,reason")
            return [_verdict(file, lines.line_num, line) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = "save it as CSV in UTF-8"
        raise FileUnusableError(str(file), str(error), remedy) from error


def _verdict(file: Path, number: int, line: dict[str, str | None]) -> Verdict:
    event_id, actor = ((line.get(name) or "").strip() for name in ("event_id", "actor"))
    if not event_id or actor not in ACTORS:
        problem = f"line {number}: event_id {shown(event_id)} with actor {shown(actor)}"
        raise FileUnusableError(str(file), problem, f"write one of: {', '.join(ACTORS)}")
    reason = (line.get("reason") or "").strip()[:MAX_REASON_CHARS]
    reasons = (ActorReason.CONFIRMED.value, *([reason] if reason else []))
    return Verdict(event_id, Label(ACTORS[actor], reasons))
