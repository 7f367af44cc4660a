"""Events to online states, exactly once: the log's tail is folded in, in offset order.

`catch_up` takes the events after the store's progress, applies them and moves the progress in
the same transaction. Whoever calls it after its own append sees its events in the next read;
several processes take turns, and none can lose or double another's update.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from features.block import decode, encode
from features.corrections import CORRECTING, Entry, corrected, refolded, relabelled
from features.definitions import AFFINITY, VIEWS
from features.definitions.affinity import Affinity
from features.definitions.cohort import TASTES
from features.definitions.cohort import VIEW as COHORT
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError, StoreUnavailableError
from features.events.log import EventLog
from features.events.schema import TARGET, Event, EventType
from features.fold import Told, fold, told
from features.layout import POOL, layout_of
from features.online import OnlineStore
from features.packed_rows import head_of
from features.packing import pack, unpack
from features.signals import CODES
from features.spec import FeatureView
from features.state import State
from features.turns import Turns

if TYPE_CHECKING:
    from features.packed_rows import Row

LOG: Final = logging.getLogger("opportune.stream")
PROGRESS: Final = "stream"
KEY_FIELDS: Final = {
    RECIPIENT.entity: "recipient_key",
    CONTENT.entity: "content_id",
    COHORT.entity: "cohort",
}
BATCH: Final = 5_000
_IS_CORRECTING: Final = np.array([code.type in CORRECTING for code in CODES])
TURN_S: Final = 0.003  # left to the writers of other processes, whom a long log would starve
AFFINITIES: Final = {
    RECIPIENT.entity: AFFINITY,
    CONTENT.entity: Affinity(AFFINITY.half_life, weights={}),  # items have no tastes
    COHORT.entity: TASTES,
}


@dataclass(frozen=True, slots=True)
class Stream:
    """Keeps a packed store up to date with a log."""

    log: EventLog
    store: OnlineStore
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Turns(self.log.root / "fold.lock"))

    def catch_up(self) -> int:
        """Apply every event of the log that the store has not seen; returns how many that were.

        Callers take turns, and one finds done what another has folded meanwhile: several at once
        cost little more than one, also over Redis, where they would not hinder each other.
        """
        self.start_over_when_redefined()
        head, applied = self.log.head(), 0
        while self.store.progress(PROGRESS) < head:
            with self.turns.taken(), self.store.writing():
                after = self.store.progress(PROGRESS)
                entries = self.log.read(after=after, limit=BATCH) if after < head else []
                if entries:
                    self._apply(entries)
                    self.store.set_progress(PROGRESS, entries[-1][0])
                elif after < head:  # the rest was erased since: nothing is left up to there
                    self.store.set_progress(PROGRESS, head)
            applied += len(entries)
            if len(entries) == BATCH:
                time.sleep(TURN_S)
        return applied

    def behind(self) -> int:
        """How many events of the log the store has not seen."""
        self.start_over_when_redefined()
        return self.log.head() - self.store.progress(PROGRESS)

    def _apply(self, entries: list[Entry]) -> None:
        batch = told(entries)
        self._fold(RECIPIENT, [event.recipient_key for event in batch.events], batch)
        about = [place for place, event in enumerate(batch.events) if event.content_id]
        keys = [batch.events[place].content_id for place in about] + [POOL] * len(about)
        self._fold(CONTENT, keys, batch.at_places(np.array(about + about, np.int64)))
        cohorts = [event.cohort if event.properties else "" for event in batch.events]
        telling = [place for place, cohort in enumerate(cohorts) if cohort]
        if telling:
            told_by = batch.at_places(np.array(telling, np.int64))
            self._fold(COHORT, [cohorts[place] for place in telling], told_by)

    def _fold(self, view: FeatureView, key_of: list[str], batch: Told) -> None:
        """The events of a batch into the states of the keys that they belong to."""
        entity, layout = view.entity, layout_of(view)
        number = {key: row for row, key in enumerate(dict.fromkeys(key_of))}
        keys, rows = list(number), np.array([number[key] for key in key_of], np.int64)
        blobs = self.store.get(entity, keys)
        block, damaged = decode(blobs, layout)
        apart = {*damaged, *rows[_IS_CORRECTING[batch.codes]].tolist()}
        is_apart = np.isin(rows, list(apart))
        together = batch.at_places(np.flatnonzero(~is_apart)) if apart else batch
        folded = fold(block, rows[~is_apart], together, layout, AFFINITIES[entity])
        seen, newest = folded.head["seen"].tolist(), folded.head["newest"].tolist()
        stored: list[Row] = list(zip(keys, seen, newest, encode(folded, layout), strict=True))
        for row in apart:
            mine = batch.at_places(np.flatnonzero(rows == row))
            entries = list(zip(mine.offsets.tolist(), mine.events, strict=True))
            blob = self._one_by_one(view, keys[row], blobs[row], entries)
            stored[row] = keys[row], *head_of(blob), blob
        self.store.put(entity, stored)

    def _one_by_one(
        self, view: FeatureView, key: str, blob: bytes | None, entries: list[Entry]
    ) -> bytes:
        """A state that is damaged, or whose past changes."""
        layout, affinity = layout_of(view), AFFINITIES[view.entity]
        last = max((o for o, e in entries if e.type in CORRECTING), default=0)
        state = self._state(view, key, blob)
        if view is RECIPIENT and last > state.seen:
            history = self.log.history("recipient_key", key, until=last)
            state = refolded(history, layout=layout, affinity=affinity)
        for offset, event in entries:
            if view is not RECIPIENT and event.type is EventType.RELABELLED:
                self._recount(state, event, offset, view)
            else:
                state.apply(event, layout=layout, affinity=affinity, offset=offset)
        return pack(state, layout)

    def _recount(self, state: State, label: Event, offset: int, view: FeatureView) -> None:
        """Put one event's label right in the counts of an item or a cohort."""
        if offset <= state.seen:
            return
        history = self.log.history("recipient_key", label.recipient_key, until=offset - 1)
        target = label.properties.get(TARGET)
        for _, event in corrected(history):
            if event.event_id == target and event.type is not EventType.RELABELLED:
                now = relabelled(event, label)
                affinity = AFFINITIES[view.entity]
                state.recount(event, now, layout=layout_of(view), affinity=affinity)
        state.seen = max(state.seen, offset)

    def _state(self, view: FeatureView, key: str, blob: bytes | None) -> State:
        """The stored state; a damaged one is made again from the log."""
        layout = layout_of(view)
        if blob is None:
            return State()
        try:
            return unpack(blob, layout)
        except StateUnreadableError as error:
            LOG.warning("a state of %s is made again from the log: %s", view.entity, error)
        until = self.store.progress(PROGRESS)
        history = self._history(view, key, until)
        return refolded(history, layout=layout, affinity=AFFINITIES[view.entity])

    def _history(self, view: FeatureView, key: str, until: int) -> Iterator[Entry]:
        field = KEY_FIELDS[view.entity]
        if key != POOL and view is not COHORT:
            yield from self.log.history(field, key, until=until)
            return
        after = 0
        while entries := self.log.read(after=after, limit=BATCH):
            mine = (e for e in entries if e[0] <= until and getattr(e[1], field))
            yield from (e for e in mine if key in (POOL, getattr(e[1], field)))
            after = entries[-1][0]

    def start_over_when_redefined(self) -> None:
        """States written under other definitions are forgotten; the log rebuilds them."""
        if self.is_current():
            return
        try:
            with self.store.writing():
                if self.is_current():  # another process was first
                    return
                self.store.clear()
                for name, digest in _digests().items():
                    self.store.set_progress(name, digest)
        except StoreUnavailableError:
            if not self.is_current():  # or was so just now: over Redis both begin
                raise

    def is_current(self) -> bool:
        """Whether the store was written under the definitions of this process."""
        return all(self.store.progress(name) == digest for name, digest in _digests().items())


def _digests() -> dict[str, int]:
    return {f"layout {view.entity}": layout_of(view).digest for view in VIEWS}
