"""How a recipient came to be as they are: their features at the end of each week, and counts of it.

The features are folded from the log by the rule of the online store and read by the function that
scores read them by, so that the last point is the feature of now. Counts follow the same signals:
a machine's open is no open, and a session is an hour that no machine can have made. Pure.

Failure mode: only the newest `MOST_EVENTS` events are folded. Whoever has more of them in half a
year is told too little in the earliest weeks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.assemble import matrix
from features.corrections import Entry
from features.definitions.affinity import AFFINITY
from features.definitions.recipient import VIEW, clicked, delivered, opened, session
from features.events.schema import DAY_US
from features.layout import layout_of, local_hour
from features.reading import read
from features.signals import CODES, Signal, code_of
from features.state import State

N_WEEKS: Final = 26
MOST_EVENTS: Final = 3_000
COUNTED: Final = (delivered, opened, clicked, session)
_LAYOUT: Final = layout_of(VIEW)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """The last weeks of one recipient, the oldest first; the last one ends now.

    Args:
        ends: Of each week, microseconds.
        features: By name, as they were at the ends, shape (n_weeks,); NaN where missing.
        counts: By signal, how much of it there was in each week, shape (n_weeks,).
        is_whole: False where the log holds more events than were folded.
    """

    ends: Sequence[int]
    features: Mapping[str, Floats]
    counts: Mapping[str, Floats]
    is_whole: bool


def history_of(entries: Sequence[Entry], *, now: int, n_weeks: int = N_WEEKS) -> History:
    """The weeks that a history makes.

    Args:
        entries: As they are known now (`features.corrections.corrected`), in any order.
    """
    ordered = sorted(entries, key=lambda entry: (entry[1].occurred_at, entry[0]))[-MOST_EVENTS:]
    ends = [now - 7 * DAY_US * back for back in reversed(range(n_weeks))]
    rows = np.empty((n_weeks, len(VIEW.features)), np.float64)
    state, place = State(), 0
    for week, end in enumerate(ends):
        # A sender's clock may be minutes ahead of ours: the last week takes what is left.
        while place < len(ordered) and (
            week == n_weeks - 1 or ordered[place][1].occurred_at <= end
        ):
            state.apply(ordered[place][1], layout=_LAYOUT, affinity=AFFINITY)
            place += 1
        rows[week] = matrix(read([state], end, _LAYOUT), VIEW)[0]
    return History(
        ends=ends,
        features=dict(zip(VIEW.names, rows.T, strict=True)),
        counts={signal.name: _counted(ordered, signal, ends) for signal in COUNTED},
        is_whole=len(ordered) == len(entries),
    )


def _counted(entries: Sequence[Entry], signal: Signal, ends: Sequence[int]) -> Floats:
    """Events of a signal by week, or its hours where it is counted by them."""
    events = [event for _, event in entries if signal.counts(CODES[code_of(event)])]
    if signal.per_hour:
        by_hour = {local_hour(event.occurred_at, event.utc_offset_min): event for event in events}
        events = list(by_hour.values())
    weeks = np.searchsorted(ends, [event.occurred_at for event in events])
    begun = ends[0] - 7 * DAY_US
    counts = np.zeros(len(ends))
    kept = [
        min(int(week), len(ends) - 1)
        for week, event in zip(weeks, events, strict=True)
        if event.occurred_at > begun
    ]
    np.add.at(counts, kept, 1.0)
    return counts
