"""What is older than it may be kept: out of the event log, the decisions and what was put aside."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from features.events.forget import drop_before
from features.events.quarantine import Quarantine
from features.events.schema import DAY_US, SECOND_US
from pipelines.settings import Settings


def retain(settings: Settings, *, now: int, step: Callable[[str], None]) -> dict[str, int]:
    """Remove what is too old; by class of data how much: events, days of decisions, rejects.

    Whole days in UTC are removed: what is kept for 30 days is gone after 31 at the latest. Events
    go by when they were received. States keep what they have counted, fading as ever; one that is
    folded from the log again no longer has it.

    Args:
        now: Microseconds.

    Raises:
        StoreUnavailableError: A store refuses; call again.
    """
    days = settings.retained_days
    removed = dict.fromkeys(days, 0)
    if days["events"]:
        step("events")
        removed["events"] = drop_before(settings.events_dir, _before(now, days["events"])).n_rows
    if days["decisions"]:
        step("decisions")
        first = _day(_before(now, days["decisions"]))
        old = (file for file in settings.decisions_dir.glob("*.ndjson") if _is_before(file, first))
        removed["decisions"] = _remove(old)
    if days["rejects"]:
        step("rejects")
        before = _before(now, days["rejects"])
        files = settings.rejects_dir.glob("*.ndjson")
        old = (file for file in files if file.stat().st_mtime * SECOND_US < before)
        removed["rejects"] = _remove(old) + Quarantine(settings.events_dir).drop_before(before)
    return removed


def _before(now: int, days: float) -> int:
    """The beginning of the oldest day that stays, microseconds."""
    return (now - round(days * DAY_US)) // DAY_US * DAY_US


def _day(at: int) -> date:
    return (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)).date()


def _is_before(file: Path, first: date) -> bool:
    """Whether a file of decisions, named by its day, is of an older one."""
    try:
        return date.fromisoformat(file.name[:10]) < first
    except ValueError:
        return False


def _remove(files: Iterable[Path]) -> int:
    removed = list(files)
    for file in removed:
        file.unlink(missing_ok=True)
    return len(removed)
