"""The clock that a recipient lives by, and who says so. Pure."""

from datetime import UTC, timedelta, timezone, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from features.events.schema import zone_of


class ZoneSource(StrEnum):
    """Where the local clock comes from."""

    REQUEST = "request"
    EVENTS = "events"
    OFFSET = "offset"
    UNKNOWN = "unknown"


class LocalClock(NamedTuple):
    """A recipient's, and who says so."""

    zone: tzinfo
    name: str
    source: ZoneSource


@lru_cache(maxsize=4_096)
def clock_of(asked: str, seen: str, offset_min: int | None) -> LocalClock:
    """The sender's word, then the zone of the events, then their offset, then UTC."""
    for name, source in ((asked, ZoneSource.REQUEST), (seen, ZoneSource.EVENTS)):
        zone = zone_of(name) if name else None
        if zone is not None:
            return _clock(zone, name, source)
    if offset_min is not None:
        fixed = timezone(timedelta(minutes=offset_min))
        return _clock(fixed, str(fixed), ZoneSource.OFFSET)
    return _clock(UTC, "UTC", ZoneSource.UNKNOWN)


# The same clock is the same object, whatever else was said: those who live by it are found by that.
_clock: Final = lru_cache(maxsize=4_096)(LocalClock)
