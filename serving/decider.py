"""Reads the store, scores, decides: everything between the door and the pure parts.

Nothing here lets an error out: what fails becomes a fallback with its reason, for the one
recipient it concerns, and the neighbours in the same call are served as usual.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from features.definitions.content import VIEW as CONTENT
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError, StoreUnavailableError
from features.layout import POOL, Layout
from features.online import OnlineStore
from features.packing import unpack
from features.state import State
from serving.asks import Ask, Champions, Prediction
from serving.fallback import FallbackReason as Why
from serving.loader import Loader
from serving.scorer import CONTENT_LAYOUT, RECIPIENT_LAYOUT, Known, predict

LOG: Final = logging.getLogger("opportune.decider")


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions in the order of the asks, and the set of models behind all of them."""

    predictions: list[Prediction]
    champions: Champions


class Decider:
    """Answers asks from one store and the current champions."""

    def __init__(self, store: OnlineStore, loader: Loader) -> None:
        self._store = store
        self._loader = loader

    def score(self, asks: Sequence[Ask], *, now: int) -> Scored:
        """Predictions for every ask, whatever is down."""
        champions = self._loader.current
        try:
            known = self._known(asks, now)
            return Scored(predict(asks, known, champions, at=now), champions)
        except Exception:  # a fault of ours must not cost anybody a mail
            LOG.exception("scoring %d recipients failed; asking for each alone", len(asks))
            return Scored([self._alone(ask, champions, now) for ask in asks], champions)

    def prior(self, asks: Sequence[Ask], *, now: int, why: Why = Why.INTERNAL) -> list[Prediction]:
        """The answers when nothing else works or may be used: no store, no model."""
        n = len(asks)
        return predict(asks, Known([None] * n, {}, [why] * n), Champions(), at=now)

    def _alone(self, ask: Ask, champions: Champions, now: int) -> Prediction:
        """What one recipient's data break must not reach the neighbours."""
        try:
            return predict([ask], self._known([ask], now), champions, at=now)[0]
        except Exception:  # as above
            LOG.exception("scoring a recipient failed; answering with priors")
            return self.prior([ask], now=now)[0]

    def _known(self, asks: Sequence[Ask], now: int) -> Known:
        keys = [ask.recipient_key for ask in asks]
        items = list(dict.fromkeys(c.content_id for ask in asks for c in ask.candidates))
        items += [POOL] if items else []
        try:
            people_blobs = self._store.get(RECIPIENT.entity, keys, now=now)
            item_blobs = self._store.get(CONTENT.entity, items, now=now)
        except StoreUnavailableError as error:
            LOG.warning("%s", error)
            return Known([None] * len(asks), {}, [Why.STORE_UNAVAILABLE] * len(asks))
        people = [_unpacked(blob, RECIPIENT_LAYOUT) for blob in people_blobs]
        found = {
            item: state
            for item, blob in zip(items, item_blobs, strict=True)
            if (state := _unpacked(blob, CONTENT_LAYOUT)[0]) is not None
        }
        return Known([state for state, _ in people], found, [why for _, why in people])


def _unpacked(blob: bytes | None, layout: Layout) -> tuple[State | None, Why]:
    if blob is None:
        return None, Why.UNKNOWN_RECIPIENT
    try:
        return unpack(blob, layout), Why.NONE
    except StateUnreadableError as error:
        LOG.warning("%s", error)
        return None, Why.STATE_UNREADABLE
