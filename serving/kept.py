"""What was decided for a mail stays decided: the same after a double render, a restart, a swap.

The first decision with a `send_id` is kept by its id for some days: in this process at once, and
within a fifth of a second in a store that other processes and the next start read. The first one
wins; a later one of another process is left out. Where what was kept is possible no more (its hour
has passed or is forbidden, its item is not asked for) the decision that takes its place is kept
instead, as the next generation.

Failure mode: two processes that are asked for the same mail within that fifth of a second, on both
sides of a model's swap, may answer differently; what was kept in the last fifth before `kill -9`
is gone. Where the store cannot be read the answer is made anew.
"""

import logging
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Self

import orjson

from features.errors import StoreUnavailableError
from features.events.schema import HOUR_US, SECOND_US
from features.online import open_reader, open_store
from features.packed_rows import Row
from features.packing import SEEN_AT
from serving.decision_log import Lost
from serving.flusher import Flusher
from serving.guard import GuardedStore, Reads
from serving.holding import HoldReason

LOG: Final = logging.getLogger("opportune.kept")
ENTITY: Final = "decision"
AT_HAND: Final = 50_000  # decisions of this process that need no look into the store; some 30 MB
TIDIES_EVERY_US: Final = 24 * HOUR_US
ROOM: Final = 50_000  # that wait to be written
GENERATIONS: Final = 16  # of a mail; from then on it is decided anew each time
_HEAD: Final = struct.Struct("<qq")
_BEGAN: Final = 1_577_836_800 * SECOND_US  # 2020
_SPAN: Final = 2**49  # microseconds, to 2037; Redis counts in doubles, to 2**53
_HOLD: Final = 6  # its place in what is packed


class Kept(NamedTuple):
    """One decision, as far as it must not change.

    Args:
        at, best_at: When it was made, and the hour it chose; microseconds.
        generation: How many were there before it that became impossible.
    """

    at: int
    variant: str
    propensity: float
    is_explored: bool
    best_at: int
    propensity_hour: float
    is_hour_explored: bool
    hold: HoldReason
    propensity_hold: float
    is_hold_explored: bool
    generation: int = 0

    @property
    def rank(self) -> int:
        """As if what it had seen: of those for one mail the stores keep the highest."""
        age = min(max(self.at - _BEGAN, 0), _SPAN - 1)
        return self.generation * _SPAN + _SPAN - 1 - age

    def in_place_of(self, before: "Kept") -> "Kept | None":
        """The next generation, None where this one says the same as the one before it.

        An ask without candidates leaves the item as it was.
        """
        told = self if self.variant else self._replace(
            variant=before.variant, propensity=before.propensity, is_explored=before.is_explored
        )  # fmt: skip
        is_same = (told.variant, told.best_at) == (before.variant, before.best_at)
        if is_same or before.generation + 1 >= GENERATIONS:
            return None
        return told._replace(generation=before.generation + 1)

    def packed(self) -> bytes:
        """As the stores keep it; its rank stands for what a state has seen."""
        told = [
            self.variant, self.propensity, self.is_explored, self.best_at, self.propensity_hour,
            self.is_hour_explored, self.hold.value, self.propensity_hold, self.is_hold_explored,
            self.generation,
        ]  # fmt: skip
        head = bytes(SEEN_AT) + _HEAD.pack(self.rank, self.at)
        return head + orjson.dumps(told)

    def row(self, named: str) -> Row:
        """As the stores take it, under the id of its decision."""
        return named, self.rank, self.at, self.packed()

    @classmethod
    def unpacked(cls, blob: bytes) -> Self:
        """Raises ValueError, TypeError, IndexError or struct.error for bytes that are none."""
        _, at = _HEAD.unpack_from(blob, SEEN_AT)
        told = orjson.loads(blob[SEEN_AT + _HEAD.size :])
        told[_HOLD] = HoldReason(told[_HOLD])
        return cls(at, *told)


def lives_of(days: float) -> dict[str, float]:
    """How long a store keeps decisions that stay for so many days."""
    return {ENTITY: days * 24 * HOUR_US / SECOND_US}


def recalled(store: Reads, ids: Sequence[str], *, now: int, days: float) -> dict[str, Kept]:
    """What a store keeps and still holds, by decision id; what cannot be read was not decided.

    Raises:
        StoreUnavailableError: The store cannot be read now.
    """
    found = {}
    for one, blob in zip(ids, store.get(ENTITY, ids, now=now), strict=True):
        if blob is None:
            continue
        try:
            kept = Kept.unpacked(blob)
        except (ValueError, TypeError, IndexError, struct.error):
            LOG.warning("a kept decision cannot be read; it is made anew")
            continue
        if now - kept.at <= round(days * 24 * HOUR_US):
            found[one] = kept
    return found


class Keeper:
    """Keeps decisions and recalls them.

    Args:
        address: Of the store, as `open_store` takes it.
        days: How long a decision stays.
        lost: Told how many are kept in this process alone, and why.
    """

    def __init__(
        self,
        address: str,
        *,
        days: float,
        lost: Callable[[Lost, int], None] = lambda _why, _n: None,
    ) -> None:
        self._days = days
        self._reader = open_reader(address, lives_s=lives_of(days))
        self._reads = GuardedStore(self._reader)
        self._store = open_store(address, lives_s=lives_of(days))
        self._life_us = round(days * 24 * HOUR_US)
        self._at_hand: OrderedDict[str, Kept] = OrderedDict()
        self._waiting: deque[tuple[str, Kept]] = deque()
        self._lost = lost
        self._tidied_at = 0
        self._is_troubled = False
        self._flusher = Flusher(self._flush, name="opportune-kept")

    def recall(self, ids: Sequence[str], *, now: int) -> dict[str, Kept]:
        """What was decided before, by decision id; what cannot be read was not."""
        found = {one: kept for one in ids if (kept := self._at_hand.get(one)) is not None}
        missing = [one for one in dict.fromkeys(ids) if one not in found]
        if missing:
            found |= self._read(missing, now)
        return {one: kept for one, kept in found.items() if now - kept.at <= self._life_us}

    def keep(self, named: str, kept: Kept) -> None:
        """Keep a decision that was not recalled, or in place of that one. Returns at once."""
        known = self._at_hand.get(named)
        if known is None or known.generation < kept.generation:
            self._at_hand[named] = kept
            if len(self._waiting) < ROOM:
                self._waiting.append((named, kept))
            else:
                self._lost(Lost.QUEUE_FULL, 1)
            if len(self._at_hand) > AT_HAND:
                self._at_hand.popitem(last=False)

    def forget(self, ids: Iterable[str]) -> None:
        """Keep nothing more of these decisions in this process."""
        gone = set(ids)
        for one in gone:
            self._at_hand.pop(one, None)
        for _ in range(len(self._waiting)):
            waiting = self._waiting.popleft()
            if waiting[0] not in gone:
                self._waiting.append(waiting)

    def start(self) -> None:
        """Begin to write in the background."""
        self._flusher.start()

    def stop(self) -> None:
        """Write what waits and end."""
        self._flusher.stop()
        self._reads.close()
        self._reader.close()
        self._store.close()

    def _read(self, ids: list[str], now: int) -> dict[str, Kept]:
        try:
            return recalled(self._reads, ids, now=now, days=self._days)
        except StoreUnavailableError:
            return {}

    def _flush(self) -> None:
        rows = []
        for _ in range(len(self._waiting)):
            named, kept = self._waiting.popleft()
            rows.append(kept.row(named))
        try:
            self._write(rows)
        except StoreUnavailableError as error:
            if not self._is_troubled:
                LOG.warning("%s; decisions are kept in this process alone", error)
            self._is_troubled = True
            self._lost(Lost.NOT_WRITTEN, len(rows))
        else:
            self._is_troubled = False

    def _write(self, rows: list[Row]) -> None:
        if rows:
            self._store.put(ENTITY, rows)
            newest = max(at for _, _, at, _ in rows)
            if newest - self._tidied_at > TIDIES_EVERY_US:
                self._tidied_at = newest
                self._store.drop_expired(now=newest)
