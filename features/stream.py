"""Events to online states, exactly once: the log's tail is folded in, in offset order.

`catch_up` takes the events after the store's progress, applies them and moves the progress in
the same transaction. Whoever calls it after its own append sees its events in the next read;
several processes take turns, and none can lose or double another's update.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from features.definitions import AFFINITY, VIEWS
from features.definitions.affinity import Affinity
from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError
from features.events.log import EventLog
from features.events.schema import Event
from features.layout import layout_of
from features.packed import PackedStore, Row
from features.spec import FeatureView
from features.state import State

LOG: Final = logging.getLogger("opportune.stream")
PROGRESS: Final = "stream"
KEY_FIELDS: Final = {RECIPIENT.entity: "recipient_key", CONTENT.entity: "content_id"}
BATCH: Final = 5_000
NO_AFFINITY: Final = Affinity(AFFINITY.half_life, weights={})  # items have no tastes


@dataclass(frozen=True, slots=True)
class Stream:
    """Keeps a packed store up to date with a log."""

    log: EventLog
    store: PackedStore

    def catch_up(self) -> int:
        """Apply every event that the store has not seen; returns how many there were."""
        self.start_over_when_redefined()
        applied = 0
        while True:
            if self.log.head() <= self.store.progress(PROGRESS):
                return applied
            with self.store.writing():
                after = self.store.progress(PROGRESS)
                entries = self.log.read(after=after, limit=BATCH)
                if entries:
                    self._apply(entries)
                    self.store.set_progress(PROGRESS, entries[-1][0])
            applied += len(entries)

    def _apply(self, entries: list[tuple[int, Event]]) -> None:
        people: dict[str, list[tuple[int, Event]]] = defaultdict(list)
        items: dict[str, list[tuple[int, Event]]] = defaultdict(list)
        for offset, event in entries:
            people[event.recipient_key].append((offset, event))
            if event.content_id:
                items[event.content_id].append((offset, event))
        self._fold(RECIPIENT, AFFINITY, people)
        self._fold(CONTENT, NO_AFFINITY, items)

    def _fold(
        self,
        view: FeatureView,
        affinity: Affinity,
        entries: dict[str, list[tuple[int, Event]]],
    ) -> None:
        entity, layout = view.entity, layout_of(view)
        keys = list(entries)
        rows: list[Row] = []
        for key, blob in zip(keys, self.store.get(entity, keys), strict=True):
            state = self._state(view, affinity, key, blob)
            for offset, event in entries[key]:
                state.apply(event, layout=layout, affinity=affinity, offset=offset)
            rows.append((key, state.seen, state.at, state.pack(layout)))
        self.store.put(entity, rows)

    def _state(self, view: FeatureView, affinity: Affinity, key: str, blob: bytes | None) -> State:
        """The stored state; a damaged one is made again from the log."""
        layout = layout_of(view)
        if blob is None:
            return State()
        try:
            return State.unpack(blob, layout)
        except StateUnreadableError as error:
            LOG.warning("a state of %s is made again from the log: %s", view.entity, error)
        state = State()
        until = self.store.progress(PROGRESS)
        for offset, event in self.log.history(KEY_FIELDS[view.entity], key, until=until):
            state.apply(event, layout=layout, affinity=affinity, offset=offset)
        return state

    def start_over_when_redefined(self) -> None:
        """States written under other definitions are forgotten; the log rebuilds them."""
        digests = {f"layout {view.entity}": layout_of(view).digest for view in VIEWS}
        if self._is_of(digests):
            return
        with self.store.writing():
            if self._is_of(digests):  # another process was first
                return
            self.store.clear()
            for name, digest in digests.items():
                self.store.set_progress(name, digest)

    def _is_of(self, digests: dict[str, int]) -> bool:
        return all(self.store.progress(name) == digest for name, digest in digests.items())
