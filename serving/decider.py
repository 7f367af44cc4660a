"""Reads the store, scores, decides: everything between the door and the pure parts.

Nothing here lets an error out: what fails becomes a fallback with its reason, for the one
recipient it concerns, and the neighbours in the same call are served as usual.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from time import perf_counter
from typing import Final, NamedTuple, Protocol

from features.candidates import Candidate
from features.definitions.cohort import VIEW as COHORT
from features.definitions.content import VIEW as CONTENT
from features.definitions.profile import is_withdrawn
from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StateUnreadableError, StoreUnavailableError
from features.layout import POOL, Layout
from features.packing import unpack
from features.state import State
from features.unpacked import unpacked
from serving.asks import Ask, Champions, Prediction
from serving.cohorts import COHORT_LAYOUT, Cohorts, wanted
from serving.columns import rows_of
from serving.deadline import NEVER, Deadline
from serving.fallback import FallbackReason as Why
from serving.guard import Reads
from serving.items import CONTENT_LAYOUT, NO_ITEMS, Items, items_of
from serving.known import RECIPIENT_LAYOUT, Known
from serving.scorer import predict
from serving.stages import Laps, Stage

LOG: Final = logging.getLogger("opportune.decider")
_NO_MODELS: Final = Champions()


FEW: Final = 200  # candidates up to which what is known of them is kept; some 70 kB
MANY: Final = 20  # states from which on it pays to read them at once
CHUNK: Final = 50  # asks that are scored together; between two chunks the clock is looked at
# Where there is that many times as long left as the last chunk took, the next one is twice as
# large, which costs less for each.
ROOMY: Final = 6.0
MOST: Final = 400
# What deciding and writing an answer takes at most: so much of the time left belongs to that.
RESERVE_S: Final = 0.0005


class Scored(NamedTuple):
    """A prediction, and the set of models behind it: none where it is the prior."""

    prediction: Prediction
    champions: Champions


class Follows(Protocol):
    """Who knows the champions of the moment."""

    @property
    def current(self) -> Champions:
        """Replaced whole; read once for each call."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Champions that stay the same."""

    current: Champions


class Decider:
    """Answers asks from one store and the current champions.

    Args:
        chunk: Asks that are scored together to begin with.
    """

    def __init__(self, store: Reads, loader: Follows, *, chunk: int = CHUNK) -> None:
        self._store = store
        self._loader = loader
        self._size = chunk

    def score(
        self,
        asks: Sequence[Ask],
        *,
        now: int,
        deadline: Deadline = NEVER,
        champions: Champions | None = None,
        laps: Laps | None = None,
    ) -> list[Scored]:
        """A prediction for every ask, whatever is down.

        What is scored before the deadline is kept, the rest are priors; all that are scored are
        so by one set of models.

        Args:
            champions: Others than those that serve, for who asks what they would say.
            laps: Told how long reading and scoring took.
        """
        laps = Laps() if laps is None else laps
        champions = self._loader.current if champions is None else champions
        reserve_s = RESERVE_S * len(asks)
        done: list[Scored] = []
        size = self._size
        while len(done) < len(asks):
            if deadline.left_s() <= reserve_s:
                return done + self.prior(asks[len(done) :], why=Why.DEADLINE)
            part, began = asks[len(done) : len(done) + size], perf_counter()
            done += self._chunk(part, champions, now, deadline, laps)
            spent_s = perf_counter() - began
            if deadline.left_s() - reserve_s > ROOMY * spent_s:
                size = max(min(2 * size, MOST), size)
        return done

    def prior(self, asks: Sequence[Ask], *, why: Why = Why.INTERNAL) -> list[Scored]:
        """The answers when nothing else works or may be used: no store, no model, hardly work."""
        return [Scored(_prior(len(ask.candidates), why), _NO_MODELS) for ask in asks]

    def _chunk(
        self,
        asks: Sequence[Ask],
        champions: Champions,
        now: int,
        deadline: Deadline,
        laps: Laps,
    ) -> list[Scored]:
        try:
            known = self.known(asks, now)
            laps.end(Stage.READ)
            if deadline.is_over():  # the store took it all
                return self.prior(asks, why=Why.DEADLINE)
            found = predict(asks, known, champions, at=now)
            return rows_of(Scored, found, repeat(champions))
        except Exception:  # a fault of ours must not cost anybody a mail
            LOG.exception("scoring %d recipients failed; asking for each alone", len(asks))
            return [self._alone(ask, champions, now) for ask in asks]
        finally:
            laps.end(Stage.SCORE)

    def _alone(self, ask: Ask, champions: Champions, now: int) -> Scored:
        """What one recipient's data break must not reach the neighbours."""
        try:
            (prediction,) = predict([ask], self.known([ask], now), champions, at=now)
            return Scored(prediction, champions)
        except Exception:  # as above
            LOG.exception("scoring a recipient failed; answering with priors")
            return self.prior([ask])[0]

    def known(self, asks: Sequence[Ask], now: int) -> Known:
        """What the store holds for the asks at a moment (microseconds)."""
        keys = [ask.recipient_key for ask in asks]
        asked = {id(ask.candidates): ask.candidates for ask in asks}.values()  # many share theirs
        items = list(dict.fromkeys(one.content_id for some in asked for one in some))
        items += [POOL] if items else []
        try:
            people_blobs = self._store.get(RECIPIENT.entity, keys, now=now)
            item_blobs = self._store.get(CONTENT.entity, items, now=now)
        except StoreUnavailableError:  # told in the log by who guards the store
            return Known([None] * len(asks), NO_ITEMS, [Why.STORE_UNAVAILABLE] * len(asks))
        read = _items_kept if len(items) <= FEW else _items
        known = _consenting(_people(people_blobs, read(tuple(items), tuple(item_blobs))))
        countries = wanted(asks, known.people, known.interests, now) if items else []
        return replace(known, cohorts=self._cohorts(countries, now)) if countries else known

    def _cohorts(self, countries: list[str], now: int) -> Cohorts:
        """Without them people are ranked by what is popular with everybody."""
        try:
            blobs = self._store.get(COHORT.entity, countries, now=now)
        except StoreUnavailableError:
            return {}
        read = {c: _cohort(blob) for c, blob in zip(countries, blobs, strict=True)}
        return {c: state for c, (state, why) in read.items() if why is not Why.STATE_UNREADABLE}


@lru_cache(maxsize=1_024)
def _prior(n_candidates: int, why: Why) -> Prediction:
    """The same for everybody, whenever they ask."""
    ask = Ask("", candidates=tuple(Candidate(str(i)) for i in range(n_candidates)))
    (prediction,) = predict([ask], Known([None], NO_ITEMS, [why]), _NO_MODELS, at=0)
    return prediction


def _items(ids: tuple[str, ...], blobs: tuple[bytes | None, ...]) -> Items:
    states = {i: _unpacked(b, CONTENT_LAYOUT)[0] for i, b in zip(ids, blobs, strict=True)}
    return items_of({item: state for item, state in states.items() if state is not None})


# The same few are asked about again and again. Kept by their very bytes they cannot be wrong.
_items_kept: Final = lru_cache(maxsize=256)(_items)


@lru_cache(maxsize=64)  # thousands of interests each, read by many
def _cohort(blob: bytes | None) -> tuple[State | None, Why]:
    return _unpacked(blob, COHORT_LAYOUT)


def _people(blobs: Sequence[bytes | None], items: Items) -> Known:
    """Many at once; one by one where they are few, or to find those that cannot be read."""
    if len(blobs) >= MANY:
        with suppress(StateUnreadableError):
            many = unpacked(blobs, RECIPIENT_LAYOUT)
            whys = [Why.UNKNOWN_RECIPIENT if blob is None else Why.NONE for blob in blobs]
            return Known(many.states, items, whys, many)
    people = [_unpacked(blob, RECIPIENT_LAYOUT) for blob in blobs]
    return Known([state for state, _ in people], items, [why for _, why in people])


def _consenting(known: Known) -> Known:
    """What may be known of people: nothing of those who have withdrawn their consent."""
    refused = [
        row
        for row, state in enumerate(known.people)
        if state is not None and state.profile and is_withdrawn(state.profile)
    ]
    if not refused:
        return known
    people, whys = list(known.people), list(known.trouble)
    for row in refused:
        people[row], whys[row] = None, Why.NO_CONSENT
    many = None if known.many is None else known.many.without(refused)
    return Known(people, known.items, whys, many)


def _unpacked(blob: bytes | None, layout: Layout) -> tuple[State | None, Why]:
    if blob is None:
        return None, Why.UNKNOWN_RECIPIENT
    try:
        return unpack(blob, layout), Why.NONE
    except StateUnreadableError as error:
        LOG.warning("%s", error)
        return None, Why.STATE_UNREADABLE
