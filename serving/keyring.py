"""Which key opens what, now: follows the file of keys while the service runs.

The file is asked for changes once a second, by whoever calls, and before a call is refused. One
that is damaged, gone or not ours to read leaves the last good keys in place; where there were none,
everything is closed.
"""

import logging
import time
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Final

from serving.errors import KeysUnreadableError
from serving.keys import Key, KeyFile, Scope, digest_of

LOG: Final = logging.getLogger("opportune.keys")
LOOK_EVERY_S: Final = 1.0
# Compared with where no key has the id, so that an unknown id costs what a wrong secret does.
_NOBODY: Final = Key(
    id="0" * 8, name="nobody", scopes=frozenset(Scope), digest="0" * 64, created_at=0, revoked_at=1
)
_Stamp = tuple[int, int, int]


class KeyRing:
    """The keys of a file as they are now.

    Args:
        monotonic: Seconds that only go forward; decides when to look at the file again.
    """

    def __init__(self, file: KeyFile, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._monotonic = monotonic
        self._keys: Mapping[bytes, Key] | None = None  # None: never read, so closed
        self._trouble = ""
        self._seen = self._stamp()
        self._read()
        self._looks_at = monotonic() + LOOK_EVERY_S

    def is_open(self) -> bool:
        """Whether there is no key at all, so that everybody may do everything."""
        if self._monotonic() >= self._looks_at:
            self._looks_at = self._monotonic() + LOOK_EVERY_S
            if self._trouble or self._has_changed():
                self._look()
        return self._keys is not None and not self._keys

    def find(self, given: bytes, *, now: int) -> Key | None:
        """The live key that these bytes are; None for everything else, at the same cost.

        Before anything is refused the file is asked whether it has changed, so that a new key
        is good from its first call on.
        """
        key = self._match(given, now)
        if key is None and self._has_changed():
            self._look()
            key = self._match(given, now)
        return key

    def _match(self, given: bytes, now: int) -> Key | None:
        parts = given.split(b"_", 2)
        key = (self._keys or {}).get(parts[1] if len(parts) == 3 else b"", _NOBODY)
        is_same = compare_digest(digest_of(given), key.digest)
        return key if is_same and key.is_live(now) else None

    def _has_changed(self) -> bool:
        return self._stamp() != self._seen

    def _look(self) -> None:
        self._seen = self._stamp()
        if self._seen is None:
            self._tell(f"{self._file.path}: is gone; put back a copy of it")
        else:
            self._read()

    def _read(self) -> None:
        try:
            keys = self._file.read()
        except KeysUnreadableError as error:
            self._keys = self._keys or None  # somebody has made keys: no longer open to everybody
            self._tell(str(error))
            return
        self._keys, self._trouble = {key.id.encode(): key for key in keys}, ""
        self._announce()

    def _stamp(self) -> _Stamp | None:
        """Changes with the content, the name and the mode; None without a file."""
        try:
            found = self._file.path.stat()
        except OSError:
            return None
        return found.st_ctime_ns, found.st_size, found.st_ino

    def _tell(self, trouble: str) -> None:
        """Say once what is wrong with the file, and what holds until it is put right."""
        if trouble != self._trouble:
            self._trouble = trouble
            holds = "every call is refused" if self._keys is None else "what was read before holds"
            LOG.error("%s; until then %s", trouble, holds)

    def _announce(self) -> None:
        if self._keys:
            LOG.info("%d API keys in %s", len(self._keys), self._file.path)
        else:
            LOG.warning(
                "no API key in %s: the service is open to everybody who reaches it; "
                "`opportune keys add` closes it",
                self._file.path,
            )
