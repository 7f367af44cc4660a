"""Keyed digests: how a recipient is named where the key itself must not stand.

HMAC-SHA256 under a secret that is made once and kept in a file of mode 0600. Each purpose has
digests of its own, so that a tombstone cannot be looked up in the audit log or the other way round.

Failure mode: whoever has the secret and a list of keys can tell which of them were erased. Without
the secret, tombstones keep nobody out any more: keep it with the log's backups.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from features.errors import StoreUnavailableError
from features.events.durable import fsync_directory, make_directory

FILE_NAME: Final = "digests.key"
TOMBSTONE: Final = "tombstone"
AUDIT: Final = "audit"
_BYTES: Final = 32
_SHOWN: Final = 32  # hex characters of a digest: 128 bits


class Digests:
    """Digests under the secret of one directory, which is made by the first digest.

    Raises:
        StoreUnavailableError: The secret cannot be read or made, or is damaged.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / FILE_NAME
        self._secret = b""

    def of(self, purpose: str, recipient_key: str) -> str:
        """A recipient's digest for one purpose, 32 hex characters."""
        if not self._secret:
            self._secret = self._read()
        told = f"{purpose}\x1f{recipient_key}".encode()
        return hmac.digest(self._secret, told, hashlib.sha256).hex()[:_SHOWN]

    def _read(self) -> bytes:
        try:
            if not self._file.exists():
                self._make()
            secret = bytes.fromhex(self._file.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            remedy = "restore it from a backup: without it nobody erased is known again"
            raise StoreUnavailableError(str(self._file), str(error), remedy) from error
        if len(secret) != _BYTES:
            problem, remedy = f"{len(secret)} bytes instead of {_BYTES}", "restore it from a backup"
            raise StoreUnavailableError(str(self._file), problem, remedy)
        return secret

    def _make(self) -> None:
        """Whole or not at all; of several processes that make it one wins."""
        make_directory(self._file.parent)
        scratch = self._file.with_name(f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(scratch, self._file)
            fsync_directory(self._file.parent)
        finally:
            scratch.unlink()
