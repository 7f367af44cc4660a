"""One chunk of an audience scored, decided, kept and written: what each process of a run does.

What is decided is kept before the part is written: whoever is killed between the two finds the
kept decisions again and writes the same part. What another process has kept meanwhile is read
back and stands, so that the plan says what a mail rendered later shows.

Failure mode: a power cut may take kept decisions whose part is there (`features.packed`); these
mails are decided anew when they are rendered.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Final, Literal, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import StoreUnavailableError
from features.online import open_store
from models.bundle import load_bundle
from models.registry import ModelFolder
from pipelines.audience import Chunk
from pipelines.plan import Decided, plan_of
from pipelines.plan_wishes import wishes_of
from serving.asks import Ask, Champions, Loaded
from serving.chooser import is_kept
from serving.columns import rows_of
from serving.decider import Decider, Scored
from serving.decision import decide_each, to_keep
from serving.fallback import FallbackReason as Why
from serving.http.answers import ask_of
from serving.http.request_schemas import ScoreRequest
from serving.kept import ENTITY, Kept, lives_of, recalled
from serving.loader import Loader
from serving.policy import Policy

CHUNK: Final = 5_000  # recipients; as predictions they take some 60 MB
SCORED: Final = 500  # of them at a time
_TRIES: Final = 3  # of a read that was not answered in time
_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process must know.

    Args:
        send: The shared request, as JSON.
        as_of: The one moment of the run, microseconds.
        versions: The champions that answer; `off` those that are switched off.
        sticky_days: How long decisions are kept; zero for not at all.
        is_dry: Nothing is kept.
        tells: What the parts are tables of: the plan, or only which hour each mail would take.
    """

    send: bytes
    as_of: int
    policy: Policy
    versions: Mapping[str, str]
    off: frozenset[str]
    models_dir: Path
    online_address: str = field(repr=False)  # may hold a password
    kept_address: str = field(repr=False)
    sticky_days: float
    is_dry: bool
    tells: Literal["plan", "wishes"] = "plan"


class Planner:
    """Scores chunks, one after the other."""

    def __init__(self, job: Job) -> None:
        self._job = job
        ask = ask_of(ScoreRequest.model_validate(orjson.loads(job.send)))
        self._shared = ask._asdict()
        folder = ModelFolder(job.models_dir)
        loaded = {
            name: Loaded(load_bundle(folder.folder(name, version), name=name), version)
            for name, version in job.versions.items()
        }
        self._champions = Champions(loaded, job.off)
        self._decider = Decider(open_store(job.online_address), Loader(folder), chunk=SCORED)
        self._is_keeping = bool(job.sticky_days) and not job.is_dry
        self._kept = None
        if job.sticky_days:
            self._kept = open_store(job.kept_address, lives_s=lives_of(job.sticky_days))

    def write(self, chunk: Chunk, part: Path) -> None:
        """Make one part, all or nothing.

        Raises:
            StoreUnavailableError: The online store, or that of kept decisions, cannot be read or
                written now. A plan of priors would be worse than none.
        """
        if self._job.tells == "wishes":
            self._put(wishes_of(made for _, _, made in self._decided(chunk)), part)
        else:
            self._put(self.plan(chunk), part)

    def plan(self, chunk: Chunk) -> pa.Table:
        """What is decided for every recipient of a chunk, in its order."""
        return plan_of(self._decided(chunk), now=self._job.as_of)

    def _decided(self, chunk: Chunk) -> list[Decided]:
        now = self._job.as_of
        asks = self._asks(chunk)
        scored = _tried(lambda: self._scored(asks))
        ids = [self._job.policy.of(ask).id_of(ask) for ask in asks]
        found = self._recalled([one for one, ask in zip(ids, asks, strict=True) if is_kept(ask)])
        kept = [found.get(named) for named in ids]
        made = self._made(asks, scored, kept)
        fresh = {
            named: to_keep(done, now=now)
            for ask, (_, _, done), named in zip(asks, made, ids, strict=True)
            if self._is_keeping and is_kept(ask) and named not in found
        }
        for named, first in self._won(fresh).items():  # by another process, just now
            place = ids.index(named)
            made[place : place + 1] = self._made([asks[place]], [scored[place]], [first])
        return made

    def _put(self, table: pa.Table, part: Path) -> None:
        scratch = part.with_name(f".{part.name}.{os.getpid()}.tmp")
        with scratch.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(part)

    def _asks(self, chunk: Chunk) -> list[Ask]:
        own = {"recipient_key": chunk.keys} | chunk.own
        columns = [own.get(name) or repeat(value) for name, value in self._shared.items()]
        asks = rows_of(Ask, *columns)
        if not chunk.full:
            return asks
        return [
            ask._replace(rules=replace(ask.rules, full=ask.rules.full.union(hours)))
            for ask, hours in zip(asks, chunk.full, strict=True)
        ]

    def _scored(self, asks: Sequence[Ask]) -> list[Scored]:
        scored = self._decider.score(asks, now=self._job.as_of, champions=self._champions)
        if any(Why.STORE_UNAVAILABLE in one.prediction.reasons.values() for one in scored):
            raise StoreUnavailableError(
                "the online store", "cannot be read", "see that it is up and reachable"
            )
        return scored

    def _made(
        self, asks: Sequence[Ask], scored: Sequence[Scored], kept: Sequence[Kept | None]
    ) -> list[Decided]:
        """As the service decides: a fault of ours ends in the priors, for that one alone."""
        now, policy = self._job.as_of, self._job.policy
        told = [one.prediction for one in scored]
        try:
            made = decide_each(asks, told, policy, now=now, kept=kept)
        except Exception:  # noqa: BLE001  as the service does
            if len(asks) > 1:
                alone = zip(asks, scored, kept, strict=True)
                return [self._made([ask], [one], [before])[0] for ask, one, before in alone]
            scored = self._decider.prior(asks)  # the row says `internal`, the summary counts it
            told = [one.prediction for one in scored]
            made = decide_each(asks, told, policy, now=now, kept=[None])
        return list(zip(asks, scored, made, strict=True))

    def _recalled(self, ids: list[str]) -> dict[str, Kept]:
        store, days = self._kept, self._job.sticky_days
        if store is None or not ids:
            return {}
        return _tried(lambda: recalled(store, ids, now=self._job.as_of, days=days))

    def _won(self, fresh: Mapping[str, Kept]) -> dict[str, Kept]:
        """Keep what was decided for the first time; those that another process has kept before."""
        store = self._kept
        if store is None or not fresh:
            return {}
        rows = [fresh[named].row(named) for named in sorted(fresh)]  # as they lie in the store
        store.put(ENTITY, rows)
        ours = {named: blob for named, _, _, blob in rows}
        there = _tried(lambda: store.get(ENTITY, list(ours), now=self._job.as_of))
        other = [named for named, blob in zip(ours, there, strict=True) if blob != ours[named]]
        stands = self._recalled(other)
        return {named: kept for named, kept in stands.items() if kept != fresh[named]}


def _tried(read: Callable[[], _Told]) -> _Told:
    """Redis has 30 ms to answer, which a loaded machine may miss once."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except StoreUnavailableError:
            continue
    return read()
