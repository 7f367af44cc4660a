"""The online store as the stream, serving and the commands see it, wherever it lies."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from features.packed import PackedStore
from features.packed_rows import LIVES_S, Row

if TYPE_CHECKING:
    import pyarrow as pa

READ_MS: Final = 30


class OnlineStore(Protocol):
    """Packed states by (entity, key), and how far the log is in them.

    Laws: a row is never replaced by one that has seen less of the log; progress never goes back
    but by `clear`; with `now`, what is older than its time to live is missing.

    Raises:
        StoreUnavailableError: The store cannot be read or written now.
    """

    def get(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[bytes | None]:
        """The blobs of the keys in their order; None where there is none or it has expired."""

    def get_with_times(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[tuple[int, bytes] | None]:
        """Times of the newest events (microseconds) and blobs, as `get` gives them."""

    def put(self, entity: str, rows: Iterable[Row]) -> None:
        """Write rows; one that has seen less of the log than the stored row is left out."""

    def load(self, entity: str, rows: "pa.Table | Iterable[pa.RecordBatch]") -> int:
        """Write Arrow rows (`key`, `blob`) in bulk, guarded alike; how many are stored now."""

    def erase(self, entity: str, key: str) -> bool:
        """Forget one key; returns whether it was there."""

    def scrub(self) -> None:
        """Leave no byte of what was erased in the store's files."""

    def drop_expired(self, *, now: int) -> int:
        """Remove rows older than their entity's time to live (`now` in microseconds); how many."""

    def progress(self, name: str) -> int:
        """The last log offset that is in the store."""

    def set_progress(self, name: str, offset: int) -> None:
        """Move the last log offset forward, never back; call inside `writing`, after the puts."""

    def count(self, entity: str) -> int:
        """How many keys an entity has."""

    def keys(self, entity: str, *, limit: int) -> list[str]:
        """Some keys of an entity, in key order."""

    def clear(self) -> None:
        """Forget every state and how far the log was read; the log rebuilds them."""

    def writing(self) -> AbstractContextManager[None]:
        """A time of reading and writing that no `clear` of another process interrupts unseen."""

    def close(self) -> None:
        """Close every thread's connection."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_store(address: str | Path, *, lives_s: Mapping[str, float] = LIVES_S) -> OnlineStore:
    """The store at an address: `redis://`, `rediss://`, `unix://`, or the path of a SQLite file.

    Args:
        lives_s: Time to live by entity, seconds.
    """
    if _is_redis(address):
        return _redis(str(address), lives_s)
    return PackedStore(Path(address), lives_s=lives_s)


def open_reader(address: str | Path, *, lives_s: Mapping[str, float] = LIVES_S) -> OnlineStore:
    """The same for who must not wait: a read fails when it is not answered in `READ_MS`."""
    if _is_redis(address):
        return _redis(str(address), lives_s)
    return PackedStore(Path(address), busy_timeout_ms=READ_MS, lives_s=lives_s)


def _is_redis(address: str | Path) -> bool:
    return str(address).startswith(("redis://", "rediss://", "unix://"))


def _redis(address: str, lives_s: Mapping[str, float]) -> OnlineStore:
    from features.packed_redis import RedisStore  # noqa: PLC0415  only who asks pays for it

    return RedisStore(address, read_timeout_ms=READ_MS, lives_s=lives_s)
