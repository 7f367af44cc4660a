"""What the packed stores share: rows, what a blob's head tells, when a state expires."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from features.definitions import VIEWS
from features.packing import SEEN_AT

if TYPE_CHECKING:
    import pyarrow as pa

# Key, log offset seen and time of the newest event (microseconds) as the blob's head tells them,
# and the blob.
Row = tuple[str, int, int, bytes]

LIVES_S: Final = {view.entity: view.ttl_s for view in VIEWS}  # time to live by entity, seconds
_HEAD: Final = struct.Struct("<qq")
_END: Final = 2**63 - 1
_SECOND_US: Final = 1_000_000


def head_of(blob: bytes) -> tuple[int, int]:
    """Log offset seen and time of the newest event (microseconds) of any packed state.

    Bytes too short to tell have seen nothing and do not expire: whoever unpacks them says what
    is wrong with them.
    """
    if len(blob) < SEEN_AT + _HEAD.size:
        return -1, _END
    seen, newest = _HEAD.unpack_from(blob, SEEN_AT)
    return seen, newest


def oldest_alive(entity: str, now: int | None, lives_s: Mapping[str, float]) -> int:
    """The oldest newest event (microseconds) of a state that is not expired at `now`."""
    if now is None or entity not in lives_s:
        return -_END
    return now - round(lives_s[entity] * _SECOND_US)


def chunks_of(
    rows: "pa.Table | Iterable[pa.RecordBatch]", size: int
) -> Iterator[tuple[list[str], list[bytes]]]:
    """Keys and blobs of Arrow rows, at most `size` at a time.

    Raises:
        ValueError: A column is missing or has nulls.
    """
    for batch in rows.to_batches() if hasattr(rows, "to_batches") else rows:
        missing = {"key", "blob"} - set(batch.schema.names)
        if missing or batch.column("key").null_count or batch.column("blob").null_count:
            raise ValueError(
                f"columns {batch.schema.names}: rows to load have `key` (string) and `blob` "
                "(binary), both without nulls"
            )
        for start in range(0, batch.num_rows, size):
            part = batch.slice(start, size)
            yield part.column("key").to_pylist(), part.column("blob").to_pylist()
