"""The packed online store over Redis: the laws of `PackedStore`, for services on many machines.

A row is the packed state itself under `opp:SPACE:ENTITY:KEY`; how far the log is in the rows
stands under `opp:SPACE!NAME`. `opp:mark` names the space in use. To clear is to move the mark to
an empty space, which is one step for every reader and writer; the old rows are then removed.

One primary (standalone, Sentinel or managed), not Redis Cluster: a read names the mark too.
"""

import logging
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Final, Self

from features import redis_scripts, redis_upkeep
from features.errors import StoreUnavailableError
from features.packed_rows import LIVES_S, Row, chunks_of, head_of, oldest_alive
from features.redis_link import RedisLink, Script

if TYPE_CHECKING:
    import pyarrow as pa

LOG: Final = logging.getLogger("opportune.online")
MARK: Final = redis_scripts.MARK
LEFTOVERS: Final = redis_scripts.LEFTOVERS
_MAX_KEYS: Final = 500  # per read, as over SQLite
_MAX_ROWS: Final = 100  # per write: Redis serves others in between, and is faster than with 500
_MILLISECONDS: Final = 1_000


@dataclass(slots=True)
class _Block:
    """What one `writing` has found and done: the mark it began with, the space it writes to."""

    mark: str
    space: str
    has_rows: bool = False
    left: list[str] = field(default_factory=list)  # spaces to remove when it ends


class RedisStore:
    """States by (entity, key) in Redis.

    Failure modes: a row that somebody else deletes, or that Redis evicted before its policy was
    set to `noeviction`, is missed by nobody: the stream begins a new state for its key. A crash
    in the middle of removing cleared rows leaves them until the next `clear`; a crash in the
    middle of a `writing` that clears leaves what it had put, for good.

    Args:
        address: `redis://`, `rediss://` or `unix://`.
        read_timeout_ms: How long `get` waits for Redis, to connect and to answer each.
        write_timeout_ms: The same for everything else.
        lives_s: Time to live by entity; Redis drops a row that long after its last change.

    Raises:
        StoreUnavailableError: Redis cannot be reached, does not answer in time, refuses, may
            evict rows, or was cleared by another process while this one was writing.
    """

    def __init__(
        self,
        address: str,
        *,
        read_timeout_ms: int = 30,
        write_timeout_ms: int = 10_000,
        lives_s: Mapping[str, float] = LIVES_S,
    ) -> None:
        self._reader = RedisLink(address, timeout_s=read_timeout_ms / _MILLISECONDS)
        self._writer = RedisLink(address, timeout_s=write_timeout_ms / _MILLISECONDS)
        self._lives_s = lives_s
        self._space = ""  # the space last seen in use
        self._local = threading.local()
        self._is_checked = False

    def get(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[bytes | None]:
        """The blobs of the keys in their order; None where there is none.

        With `now` (microseconds) a state whose newest event is older than the entity's time to
        live is missing too.
        """
        if now is None:
            return self._rows(entity, keys)
        return [found and found[1] for found in self.get_with_times(entity, keys, now=now)]

    def get_with_times(
        self, entity: str, keys: Sequence[str], *, now: int | None = None
    ) -> list[tuple[int, bytes] | None]:
        """Times of the newest events (microseconds) and blobs, as `get` gives them."""
        oldest = oldest_alive(entity, now, self._lives_s)
        answers: list[tuple[int, bytes] | None] = []
        for blob in self._rows(entity, keys):
            newest = oldest - 1 if blob is None else head_of(blob)[1]
            answers.append(None if blob is None or newest < oldest else (newest, blob))
        return answers

    def put(self, entity: str, rows: Iterable[Row]) -> None:
        """Write rows; one that has seen less of the log than the stored row is left out."""
        with self._block() as block:
            all_rows = list(rows)
            for start in range(0, len(all_rows), _MAX_ROWS):
                part = all_rows[start : start + _MAX_ROWS]
                self._put(block, entity, [row[0] for row in part], [row[3] for row in part])

    def load(self, entity: str, rows: "pa.Table | Iterable[pa.RecordBatch]") -> int:
        """Write many rows, guarded like `put`; readers and other writers go on meanwhile.

        Args:
            rows: Columns `key` (string) and `blob` (binary) without nulls.

        Returns:
            How many rows are stored now; the others had seen less of the log.

        Raises:
            ValueError: A column is missing or has nulls.
        """
        with self._block() as block:
            parts = chunks_of(rows, _MAX_ROWS)
            return sum(self._put(block, entity, keys, blobs) for keys, blobs in parts)

    def erase(self, entity: str, key: str) -> bool:
        """Forget one key; returns whether it was there.

        A `writing` that began before it fails, since it may hold the erased state.
        """
        with self._block() as block:
            spaced = f"opp:{block.space}:{entity}:{key}"
            values: list[str | bytes] = [spaced, f":{entity}:{key}"]
            answer = self._writer.script(
                redis_scripts.ERASE, [MARK, LEFTOVERS], values, is_same=True
            )
            if answer is None:
                raise self._overtaken()
            was_there, mark = answer
            block.mark = mark.decode()
        return bool(was_there)

    def scrub(self) -> None:
        """Nothing: what Redis keeps in files it writes anew by its own schedule."""

    def drop_expired(self, *, now: int) -> int:
        """Nothing: Redis does it by itself."""
        del now
        return 0

    def progress(self, name: str) -> int:
        """The last log offset that is in the store."""
        (found,) = self._fetch(self._writer, [f"!{name}"])
        return int(found or 0)

    def set_progress(self, name: str, offset: int) -> None:
        """Move the last log offset forward, never back; call inside `writing`, after the puts."""
        with self._block() as block:
            self._guarded(
                block, redis_scripts.SET_PROGRESS, [f"opp:{block.space}!{name}"], [str(offset)]
            )

    def count(self, entity: str) -> int:
        """How many keys an entity has; looks at every key in Redis."""
        return len(self._names(entity))

    def keys(self, entity: str, *, limit: int) -> list[str]:
        """Some keys of an entity, in key order; looks at every key in Redis."""
        return nsmallest(limit, self._names(entity))

    def clear(self) -> None:
        """Forget every state and how far the log was read; the log rebuilds them."""
        with self._block() as block:
            block.left.append(block.space)
            block.space = _new_space()
            block.has_rows = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A time of writing in which the store is the same one: not cleared, not another server.

        There is no transaction and no lock, and two processes that catch up at once lose and
        double nothing:

        1. A state that has seen offset `s` holds exactly its key's events up to `s`. Every
           writer reads the progress `p` first, the states then, and applies `p + 1 .. q` in
           order, skipping what a state has seen.
        2. Progress moves to `q` after the rows of `.. q` are stored, or were left out because
           rows that have seen more are there. So whoever reads `p` finds in each state, read
           later, all events up to `p`: rows never go back to having seen less (`put`).
        3. What a writer puts thus holds all of its key's events up to what it says to have
           seen. The one that has seen more wins, and of two equal ones either will do.

        Both need one store that never goes back in time. Each write here carries the mark found
        at the beginning and is refused when another process has cleared, a key was erased or
        Redis lost its data; all go over one connection, which does not survive a fail-over or
        restart. Rows and progress that come back from an older snapshot are of one moment, so
        the log goes on from there.

        A `clear` inside is seen by others at the end only, with all that follows it. When
        another process has cleared meanwhile it is theirs that counts.
        """
        if not self._is_checked:
            redis_upkeep.refuse_eviction(self._writer)
            self._is_checked = True
        fresh = f"{_new_space()}.0"
        mark = self._writer.script(redis_scripts.PIN, [MARK], [fresh]).decode()
        block = _Block(mark, _space_of(mark))
        self._local.block = block
        try:
            yield
            if block.left:
                self._publish(block)
        finally:
            self._local.block = None

    def close(self) -> None:
        """Close every thread's connection."""
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _block(self) -> Iterator[_Block]:
        """The thread's `writing`, or one of its own."""
        current: _Block | None = getattr(self._local, "block", None)
        if current is not None:
            yield current
            return
        with self.writing():
            yield self._local.block

    def _put(self, block: _Block, entity: str, keys: list[str], blobs: list[bytes]) -> int:
        life_ms = round(self._lives_s.get(entity, 0) * _MILLISECONDS)
        prefix = f"opp:{block.space}:{entity}:"
        names = [prefix + key for key in keys]
        block.has_rows = True
        return int(self._guarded(block, redis_scripts.PUT, names, [str(life_ms), *blobs]))

    def _guarded(
        self, block: _Block, script: Script, names: list[str], values: list[str | bytes]
    ) -> Any:
        """A script's answer; it does nothing unless the mark is the block's."""
        answer = self._writer.script(script, [MARK, *names], [block.mark, *values], is_same=True)
        if answer is None:
            raise self._overtaken()
        return answer

    def _overtaken(self) -> StoreUnavailableError:
        problem = "was cleared, lost its data or had a key erased while states were written"
        return StoreUnavailableError(self._writer.shown, problem, "do it again; the log has it all")

    def _publish(self, block: _Block) -> None:
        """Bring the space of a `clear` into use, unless another process was first."""
        keys, mark = [MARK, LEFTOVERS], f"{block.space}.0"
        values: list[str | bytes] = [block.mark, mark, *block.left]
        if self._writer.script(redis_scripts.PUBLISH, keys, values, is_same=True):
            redis_upkeep.remove_leftovers(self._writer)
            return
        redis_upkeep.remove(self._writer, block.space)
        if block.has_rows:
            raise self._overtaken()
        LOG.info("%s: another process cleared at the same time", self._writer.shown)

    def _rows(self, entity: str, keys: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        prefix = f":{entity}:"
        for start in range(0, len(keys), _MAX_KEYS):
            part = [prefix + key for key in keys[start : start + _MAX_KEYS]]
            found += self._fetch(self._reader, part)
        return found

    def _fetch(self, link: RedisLink, names: list[str]) -> list[bytes | None]:
        """Values in the space in use; one more turn when that was another than thought."""
        block: _Block | None = getattr(self._local, "block", None)
        if block is not None:
            prefix = f"opp:{block.space}"
            mine: list[bytes | None] = self._writer.run(
                "MGET", *[prefix + name for name in names], is_same=True
            )
            return mine
        while True:
            space = self._space
            prefix = f"opp:{space}"
            found: list[bytes | None]
            mark, *found = link.run("MGET", MARK, *[prefix + name for name in names])
            if mark is None:
                return [None] * len(names)
            self._space = _space_of(mark.decode())
            if self._space == space:
                return found

    def _names(self, entity: str) -> set[str]:
        block: _Block | None = getattr(self._local, "block", None)
        mark = None if block else self._writer.run("GET", MARK)
        space = block.space if block else _space_of(mark.decode()) if mark else ""
        prefix = f"opp:{space}:{entity}:"
        found = redis_upkeep.names_like(self._writer, prefix + "*")
        return {name.decode()[len(prefix) :] for name in found}


def _new_space() -> str:
    return secrets.token_hex(5)


def _space_of(mark: str) -> str:
    """A mark is a space and how often a key was erased in it."""
    return mark.partition(".")[0]
