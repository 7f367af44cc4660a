"""Challengers that score beside the champions, after the answer, and answer nobody.

Calls are put on a bounded queue; one thread of the process takes from it, reads the store and
scores twice, with the champions and with the challenger in its model's place, so that both see
the same rows at the same moment. What finds no room is counted and left out.
"""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from serving.asks import Ask, Champions, Loaded, Prediction
from serving.decider import Decider
from serving.divergence import Divergence, Told, decision_of, number_of
from serving.flusher import Flusher
from serving.scorer import predict

LOG: Final = logging.getLogger("opportune.shadow")
ROOM: Final = 500  # recipients that wait
AT_ONCE: Final = 10  # recipients that are scored together: answers are computed beside it
EACH_TIME: Final = 50  # recipients of a flush, five times a second


class Challenges(Protocol):
    """Who knows champions and challengers of the moment."""

    @property
    def current(self) -> Champions:
        """The champions."""

    @property
    def shadows(self) -> Mapping[str, Loaded]:
        """The challengers by model."""


class Counts(Protocol):
    """Who counts what became of the recipients."""

    def count_shadow(self, model: str, outcome: str, n: int) -> None:
        """Of a model: compared, otherwise, lost or failed."""


class Shadow:
    """Compares challengers with champions between `start` and `stop`.

    Args:
        share: Of the recipients, the same ones each time.
        salt: Who they are; the holdout's salt.
    """

    def __init__(
        self, decider: Decider, models: Challenges, counts: Counts, *, share: float, salt: str
    ) -> None:
        self._decider = decider
        self._models = models
        self._counts = counts
        self._share = share
        self._salt = salt.encode()[:64]
        self._waiting: deque[tuple[Ask, int]] = deque()
        self._found: dict[tuple[str, str, str], Divergence] = {}
        self._flusher = Flusher(self._flush, name="opportune-shadow")

    def offer(self, asks: Sequence[Ask], *, now: int) -> None:
        """Take what has been answered at a moment (microseconds); returns at once."""
        if self._share <= 0.0 or not self._models.shadows:
            return
        for ask in asks:
            if not self._is_chosen(ask.recipient_key):
                continue
            if len(self._waiting) >= ROOM:
                for name in self._models.shadows:
                    self._counts.count_shadow(name, "lost", 1)
            else:
                self._waiting.append((ask, now))

    def told(self, name: str) -> tuple[str, Told]:
        """The challenger's version, `none` without one, and how far it is from the champion."""
        loaded = self._models.shadows.get(name)
        if loaded is None:
            return "none", Told()
        found = self._found.get((name, self._models.current.version(name), loaded.version))
        return loaded.version, found.told() if found else Told()

    def start(self) -> None:
        """Begin to compare."""
        self._flusher.start()

    def stop(self) -> None:
        """End."""
        self._flusher.stop()

    def _is_chosen(self, recipient_key: str) -> bool:
        hashed = hashlib.blake2b(
            recipient_key.encode(), key=self._salt, person=b"shadow", digest_size=8
        )
        return int.from_bytes(hashed.digest()) < self._share * 2.0**64

    def _flush(self) -> None:
        """Figures are kept for the pairs of versions that are compared now, and no others."""
        champions, shadows = self._models.current, dict(self._models.shadows)
        pairs = {
            (name, champions.version(name), one.version): one
            for name, one in shadows.items()
            if name in champions.by_name
        }
        self._found = {pair: self._found.get(pair) or Divergence() for pair in pairs}
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), EACH_TIME))]
        for start in range(0, len(taken), AT_ONCE):
            self._compare(taken[start : start + AT_ONCE], champions, pairs)

    def _compare(
        self,
        taken: Sequence[tuple[Ask, int]],
        champions: Champions,
        pairs: Mapping[tuple[str, str, str], Loaded],
    ) -> None:
        now = max(at for _, at in taken)
        asks = [ask._replace(explain=False) for ask, _ in taken]
        for pair, shadow in pairs.items():
            name = pair[0]
            try:
                others = replace(champions, by_name={**champions.by_name, name: shadow})
                known = self._decider.known(asks, now)
                began = time.thread_time()  # not the time of those who answer beside it
                ours = predict(asks, known, champions, at=now)
                middle = time.thread_time()
                theirs = predict(asks, known, others, at=now)
                took = middle - began, time.thread_time() - middle
                self._note(pair, ours, theirs)
                self._found[pair].took(*took)
            except Exception:  # a challenger may do what it likes, here
                LOG.exception("the shadow of %s failed", name)
                self._counts.count_shadow(name, "failed", len(asks))

    def _note(
        self, pair: tuple[str, str, str], ours: Sequence[Prediction], theirs: Sequence[Prediction]
    ) -> None:
        name = pair[0]
        numbers, otherwise, n_failed = [], 0, 0
        for one, other in zip(ours, theirs, strict=True):
            mine, its = number_of(name, one), number_of(name, other)
            if mine is not None and its is not None:
                numbers.append((mine, its))
                otherwise += decision_of(name, one) != decision_of(name, other)
            elif mine is not None:
                n_failed += 1  # no number where the champion had one
        if numbers:
            columns = np.array(numbers, np.float64)
            self._found[pair].add(columns[:, 0], columns[:, 1], otherwise=otherwise)
        for outcome, n in (
            ("compared", len(numbers)), ("otherwise", otherwise), ("failed", n_failed),
        ):  # fmt: skip
            if n:
                self._counts.count_shadow(name, outcome, n)
