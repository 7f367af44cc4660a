"""The online store behind a breaker: while it fails nobody waits for it, and one thread asks on.

Scores are computed in the event loop, so that a store that stands still for 30 ms stops everybody
for as long. The call that would try whether it is back is therefore made by a thread of the
guard, never by a caller's request.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from features.definitions.recipient import VIEW as RECIPIENT
from features.errors import StoreUnavailableError
from serving.breaker import Breaker

LOG: Final = logging.getLogger("opportune.store")
STORE: Final = "online_store"  # as metrics name it
PROBE_EVERY_S: Final = 1.0
_FIRST_PROBE_S: Final = 0.1  # a store that only stumbled is soon back; each next one waits twice


class Reads(Protocol):
    """What scoring needs of a store."""

    def get(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[bytes | None]:
        """The blobs of the keys in their order, as `features.online.OnlineStore` gives them."""


class GuardedStore:
    """Reads of a store, refused at once while it fails.

    Failure mode: a store that answers every second read is never refused, and each failing read
    costs its timeout.

    Args:
        opened: Called each time the breaker opens.
        probe_every_s: Seconds between two questions to a store that stays away.

    Raises:
        StoreUnavailableError: The store failed, or has failed and is not back.
    """

    def __init__(
        self,
        store: Reads,
        *,
        opened: Callable[[], None] = lambda: None,
        probe_every_s: float = PROBE_EVERY_S,
    ) -> None:
        self._store = store
        self._opened = opened
        self._probe_every_s = probe_every_s
        self._breaker = Breaker()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._prober: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        """Whether reads are refused."""
        return self._breaker.is_open

    def get(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[bytes | None]:
        """As the store's own."""
        if self._breaker.is_open:
            raise StoreUnavailableError("the online store", "has failed", "wait until it is back")
        try:
            found = self._store.get(entity, keys, now=now)
        except StoreUnavailableError as error:
            LOG.warning("%s", error)
            if self._breaker.failed():
                self._begin()
            raise
        self._breaker.succeeded()
        return found

    def close(self) -> None:
        """End the thread that asks; the store itself stays open."""
        self._stop.set()
        self._wake.set()
        with self._lock:
            prober = self._prober
        if prober is not None:
            prober.join(timeout=10)

    def _begin(self) -> None:
        LOG.error("the online store is not asked until it answers again; scores go on without")
        self._opened()
        with self._lock:
            if self._prober is None:
                self._prober = threading.Thread(
                    target=self._run, name="opportune-probe", daemon=True
                )
                self._prober.start()
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            wait_s = min(_FIRST_PROBE_S, self._probe_every_s)
            while self.is_open and not self._stop.wait(wait_s):
                self._probe()
                wait_s = min(2 * wait_s, self._probe_every_s)

    def _probe(self) -> None:
        """Ask once; that the key is not there is an answer too."""
        try:
            self._store.get(RECIPIENT.entity, ["probe"])
        except StoreUnavailableError:
            return
        except Exception:  # whatever it is, the next one may do
            LOG.exception("asking the online store failed")
            return
        if self._breaker.succeeded():
            LOG.warning("the online store answers again")
