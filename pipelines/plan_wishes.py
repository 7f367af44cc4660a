"""Which hour each mail of an audience would take, as a table, and which are full for whom. Pure.

Hours take so many mails. Whoever would lose most by another hour chooses first, as in a batch of
the API (`serving.throttle`). But nobody waits for the turn of the one before: all ask for their
best hour, each hour keeps those who would lose most, and who is turned away asks anew, knowing of
all hours that are full before their turn. What is full before somebody's turn stays so, and so
this ends in what choosing one after the other ends in.

Source: deferred acceptance (Gale and Shapley 1962), here with one order of people for all hours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.decision import Decision
from serving.throttle import Throttle, at_stake, hour_of, takes_room

SCHEMA: Final = pa.schema(
    [("hour", pa.int64()), ("takes_room", pa.bool_()), ("at_stake", pa.float64())]
)


def wishes_of(made: Iterable[Decision]) -> pa.Table:
    """Decisions as rows of `SCHEMA`."""
    some = list(made)
    told = {
        "hour": [hour_of(one) for one in some],
        "takes_room": [takes_room(one) for one in some],
        "at_stake": [at_stake(one) for one in some],
    }
    return pa.table(told, schema=SCHEMA)


@dataclass(slots=True)
class Wishes:
    """Of every recipient of an audience, by place.

    Args:
        hour: That the mail would take, microseconds.
        takes_room: False for who is held back at any hour.
        turn: 0 for who chooses first; by what was at stake when all hours were free.
        full: Hours that are full before the turn of those who were turned away.
    """

    hour: NDArray[np.int64]
    takes_room: NDArray[np.bool_]
    turn: NDArray[np.int64]
    full: dict[int, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, told: pa.Table) -> Self:
        """Everybody's first wish, a table of `SCHEMA` in their order."""
        hour, takes_room, stakes = (told[name].to_numpy() for name in SCHEMA.names)
        turn = np.empty(len(told), np.int64)
        turn[np.lexsort((np.arange(len(told)), -stakes))] = np.arange(len(told))
        return cls(hour.copy(), takes_room.copy(), turn)

    def change(self, places: Sequence[int], told: pa.Table) -> None:
        """Those who were turned away wish anew."""
        self.hour[places] = told["hour"].to_numpy()
        self.takes_room[places] = told["takes_room"].to_numpy()

    def turned_away(self, throttle: Throttle) -> list[int]:
        """The places of those who must wish anew, ascending; `full` tells why."""
        hours, ends = self._filled(throttle)
        n_full = np.searchsorted(ends, self.turn)  # before each one's turn
        asked = {hour: number for number, hour in enumerate(hours)}
        number = np.array([asked.get(h, len(hours)) for h in self.hour.tolist()], np.int64)
        found = []
        for place in sorted({*np.flatnonzero(number < n_full).tolist(), *self.full}):
            known, now = self.full.get(place, set()), set(hours[: n_full[place]])
            if not now <= known:
                self.full[place] = known | now
                found.append(place)
        return found

    def _filled(self, throttle: Throttle) -> tuple[list[int], NDArray[np.int64]]:
        """The hours that fill up, and at whose turn, in the order of turns; -1 for before all."""
        order = np.argsort(self.turn)
        taking = order[self.takes_room[order]]
        found = []
        for hour in {*self.hour.tolist(), *throttle.planned}:
            room = throttle.per_hour - throttle.planned.get(hour, 0)
            mails = taking[self.hour[taking] == hour]
            if len(mails) >= room:
                found.append((int(self.turn[mails[room - 1]]) if room > 0 else -1, hour))
        found.sort()
        return [hour for _, hour in found], np.array([turn for turn, _ in found], np.int64)
