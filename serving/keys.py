"""API keys in one file of the data directory: made, listed, revoked; only hashes are kept.

A key is `opp_`, eight characters that name it, `_` and 32 random bytes in base64url. The file has
mode 0600 and is replaced by a rename, so a reader sees it before or after a change; writers wait
for each other. Revoked keys stay in it: a service whose last key is revoked is closed, not open.
"""

import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from features.events.durable import exclusive, fsync_directory, make_directory
from serving.errors import KeysUnreadableError, KeyUnknownError, TooManyKeysError

PREFIX: Final = "opp"
MOST_LIVE: Final = 2  # per name: the one in use and the one it is rotated to
MAX_BYTES: Final = 4 * 1024 * 1024
_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 32

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


class Scope(StrEnum):
    """What a key may do. None holds another: a key that reads metrics erases nobody."""

    SCORE = "score"
    EVENTS = "events"
    INSPECT = "inspect"
    PRIVACY = "privacy"
    ADMIN = "admin"


class Key(BaseModel):
    """What is known of a key; times in microseconds since 1970, zero for never.

    `digest` is the SHA-256 of the whole key in hex. `per_minute` is zero without a limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    name: Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
    scopes: frozenset[Scope] = Field(min_length=1)
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(repr=False)
    created_at: int
    expires_at: int = 0
    revoked_at: int = 0
    per_minute: int = Field(0, ge=0)

    def is_live(self, now: int) -> bool:
        """Whether the key opens anything at a moment."""
        return not self.revoked_at and (not self.expires_at or now < self.expires_at)


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    format: Literal[1]
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The keys below one data directory; without a file there are none."""

    path: Path

    def read(self) -> tuple[Key, ...]:
        """Every key ever made, oldest first.

        Raises:
            KeysUnreadableError: The file is there, but damaged or not ours to read.
        """
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise KeysUnreadableError(self.path, f"is larger than {MAX_BYTES} bytes")
            return _Content.model_validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KeysUnreadableError(self.path, f"cannot be read ({error.strerror})") from error
        except ValidationError as error:
            problem = f"is no file of keys ({error.error_count()} mistakes)"
            raise KeysUnreadableError(self.path, problem) from error

    def add(
        self,
        name: str,
        scopes: frozenset[Scope],
        *,
        now: int,
        expires_at: int = 0,
        per_minute: int = 0,
    ) -> str:
        """Make a key and give it: it is nowhere else and cannot be shown again.

        Raises:
            KeysUnreadableError: The file is damaged; it is not written over.
            TooManyKeysError: The name has two live keys.
            ValidationError: The name or the scopes are none.
        """
        made: list[str] = []

        def added(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            live = [key.id for key in keys if key.name == name and key.is_live(now)]
            if len(live) >= MOST_LIVE:
                raise TooManyKeysError(name, live)
            taken = {key.id for key in keys}
            while (key_id := secrets.token_hex(_ID_BYTES)) in taken:
                pass
            made.append(f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")
            key = Key(
                id=key_id,
                name=name,
                scopes=scopes,
                digest=digest_of(made[0].encode()),
                created_at=now,
                expires_at=expires_at,
                per_minute=per_minute,
            )
            return (*keys, key)

        self._change(added)
        return made[0]

    def revoke(self, key_id: str, *, now: int) -> Key:
        """End a key; one that is revoked stays as it is.

        Raises:
            KeysUnreadableError: The file is damaged; it is not written over.
            KeyUnknownError: There is no such key.
        """

        def revoked(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            if key_id not in {key.id for key in keys}:
                raise KeyUnknownError([key.id for key in keys])
            return tuple(
                key.model_copy(update={"revoked_at": key.revoked_at or now})
                if key.id == key_id
                else key
                for key in keys
            )

        return next(key for key in self._change(revoked) if key.id == key_id)

    def _change(self, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> tuple[Key, ...]:
        make_directory(self.path.parent)
        with exclusive(self.path.with_name(f".{self.path.name}.lock")):
            keys = change(self.read())
            self._replace(_Content(format=1, keys=keys).model_dump_json(indent=1).encode())
        return keys

    def _replace(self, content: bytes) -> None:
        scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        with suppress(FileNotFoundError):
            scratch.unlink()  # of a writer that was killed
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)
        fsync_directory(self.path.parent)


def id_of(key: str) -> str:
    """The eight characters that name a key, of the whole key."""
    return key.split("_")[1]


def digest_of(key: bytes) -> str:
    """SHA-256 of a whole key, in hex."""
    return sha256(key).hexdigest()
