"""Features of past midnights into Feast: a file a day and view, made once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from features.definitions import VIEWS
from features.events.log import EventLog
from features.events.schema import DAY_US, SECOND_US
from features.feast_history import day_of, has_day, write_day
from features.feast_objects import history_view_name
from features.feast_store import FeastStore
from features.history import rows_at
from pipelines.errors import DayAheadError


@dataclass(frozen=True, slots=True)
class Backfilled:
    """Of one view: days that were there already, days made now, and their rows."""

    view: str
    there: int
    made: int
    rows: int


def midnights(begin: date, end: date, *, every_days: int = 1) -> list[int]:
    """The first moments (microseconds, UTC) of days from `begin` up to `end`, which is one too."""
    days = range(0, (end - begin).days + 1, every_days)
    zero = datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
    return [round((zero + timedelta(days=n)).timestamp()) * SECOND_US for n in days]


def backfill(
    *,
    log: EventLog,
    feast: FeastStore,
    moments: Sequence[int],
    now: int,
    step: Callable[[str], None],
) -> list[Backfilled]:
    """Make the days that are not there yet; after a kill the next call goes on.

    Args:
        moments: Midnights, rising.
        now: Microseconds.

    Raises:
        DayAheadError: A midnight is yet to come, so what is known before it still grows.
    """
    if moments and moments[-1] > now:
        raise DayAheadError(day_of(moments[-1]), newest=day_of(now // DAY_US * DAY_US))
    step("registering definitions in Feast")
    feast.apply()
    events = log.scan()
    done = []
    for view in VIEWS:
        missing = [moment for moment in moments if not has_day(feast.folder, view, moment)]
        n_rows = 0
        if missing:
            step(f"{view.entity}: reading events for {len(missing)} days")
            for moment, rows in rows_at(events, view, missing):
                step(f"{view.entity}: {day_of(moment)}, {len(rows):,} rows")
                write_day(feast.folder, view, moment, rows)
                n_rows += len(rows)
        there = len(moments) - len(missing)
        done.append(Backfilled(history_view_name(view), there, len(missing), n_rows))
    return done
