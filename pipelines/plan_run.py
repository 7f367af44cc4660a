"""An audience to its plan: chunk by chunk, of one moment, gone on with after any kind of end.

    OUT             the plan
    OUT.run.json    what it was made of, and how (a suffix .parquet of OUT is left out)
    OUT.parts/      while it is being made: a part a chunk, and the moment it began with

A part is named by its chunk and a digest of all that it depends on but the states: the rows, the
send, the moment, the models, the policy. It is there whole or not at all. So whatever is there is
not made again, and a run of other inputs never takes it for its own.

Failure mode: states are those of the time when a chunk is scored. Events that come in during the
run, or between a kill and the next run, are in the later chunks and not in the earlier ones.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from features.events.durable import make_directory
from features.events.schema import SECOND_US
from models.bundle import GRAPH, sha256_of
from models.registry import ModelFolder
from pipelines import plan
from pipelines.audience import Audience
from pipelines.errors import NoChampionError, ThrottleUnkeptError
from pipelines.json_files import json_of, put_json
from pipelines.plan_chunk import CHUNK, Job
from pipelines.plan_parts import LOCK, alone, digest_of, merge, missing_of, part_of
from pipelines.plan_pool import written
from pipelines.plan_record import Run
from pipelines.plan_throttle import FOLDER, Rounds, fitted
from pipelines.send_file import Send
from serving.asks import Champions
from serving.http.rule_schemas import throttle_of
from serving.loader import Loader
from serving.policy import policy_of
from serving.settings import ServingSettings
from serving.throttle import Throttle

BEGUN: Final = "begun.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to make.

    Args:
        as_of: The moment that all are scored at, microseconds; None for that of an unfinished or
            finished plan of the same inputs, and `now` where there is none.
        workers: Processes that score.
        is_dry: Nothing is kept.
        chunk: Recipients that are scored and kept together.
    """

    audience: Audience
    send: Send
    out: Path
    now: int
    as_of: int | None = None
    workers: int = 1
    is_dry: bool = False
    chunk: int = CHUNK


def make_plan(order: Order, settings: ServingSettings, *, progress: Progress) -> Run:
    """Score everybody and write the plan; what is there of the same inputs is not made again.

    Args:
        progress: Told how many of how many recipients are done.

    Raises:
        PlanBusyError: Another process is at it.
        NoChampionError: Everybody would get the priors.
        PlanUnfinishedError: It ended before the last chunk, for a reason that is told.
    """
    parts = order.out.with_name(order.out.name + ".parts")
    record = record_of(order.out)
    champions = _champions(settings)
    digests = [chunk.digest for chunk in order.audience.chunks(order.chunk)]
    run = _run_of(order, settings, champions, digests)
    with alone(parts, order.out):
        before = Run.read(record)
        run.as_of = _moment(order, run.inputs, [json_of(parts / BEGUN), json_of(record)])
        if before is not None and _is_made(before, run, order.out):
            shutil.rmtree(parts)
            before.is_new = False
            return before
        put_json(parts / BEGUN, {"inputs": run.inputs, "as_of": run.as_of})
        job = _job(order.send, settings, champions, run.as_of, is_dry=order.is_dry)
        throttle = None if order.send.throttle is None else throttle_of(order.send.throttle)
        if throttle is not None:
            order, run.rounds = _fitted(order, throttle, job, parts, run, progress)
            digests = [chunk.digest for chunk in order.audience.chunks(order.chunk)]
        named = [part_of(parts, run, number, one) for number, one in enumerate(digests)]
        for old in set(parts.iterdir()) - {*named, parts / BEGUN, parts / LOCK, parts / FOLDER}:
            old.unlink()
        began = time.perf_counter()
        n_all = len(order.audience.rows)
        missing, n_there = missing_of(order.audience, order.chunk, named)
        progress(n_there, n_all)
        for n in written(job, missing, workers=order.workers, out=order.out):
            run.scored += n
            progress(n_there + run.scored, n_all)
        run.score_s = time.perf_counter() - began
        merge(named, order.out, run)
        if throttle is not None:
            run.judge(throttle)
        run.merge_s = time.perf_counter() - began - run.score_s
        run.write(record)
        shutil.rmtree(parts)
    return run


def record_of(out: Path) -> Path:
    """Where it is told what a plan was made of; no two plans of one folder share it."""
    return out.with_name(f"{out.name.removesuffix('.parquet')}.run.json")


def _fitted(
    order: Order, throttle: Throttle, job: Job, parts: Path, run: Run, progress: Progress
) -> tuple[Order, int]:
    """The same with the hours that are full for each, and how many rounds it took."""
    make_directory(parts / FOLDER)
    rounds = Rounds(
        replace(job, tells="wishes", is_dry=True),
        named=lambda digest: part_of(parts / FOLDER, run, 0, digest),
        workers=order.workers,
        chunk=order.chunk,
        out=order.out,
        progress=progress,
    )
    audience, n_rounds = fitted(order.audience, throttle, rounds)
    return replace(order, audience=audience), n_rounds


def _champions(settings: ServingSettings) -> Champions:
    """Those that a service which starts now would answer with; without any there is no plan."""
    loader = Loader(ModelFolder(settings.models_dir))
    loader.look()
    if not loader.current.by_name:
        raise NoChampionError(settings.models_dir)
    return loader.current


def _run_of(
    order: Order, settings: ServingSettings, champions: Champions, digests: Sequence[str]
) -> Run:
    policy, by_name = policy_of(settings), champions.by_name
    asked = order.send.model_dump(mode="json", exclude={"recipient_key"}, exclude_unset=True)
    graphs = {name: one.bundle.manifest.files[GRAPH] for name, one in by_name.items()}
    told = [
        plan.VERSION, order.chunk, str(settings.data_dir.absolute()), asked, asdict(policy),
        settings.sticky_days, order.is_dry, graphs, sorted(champions.off), digests,
    ]  # fmt: skip
    versions = {name: one.version for name, one in by_name.items()}
    return Run(
        inputs=digest_of([*told, versions]),
        as_of=0,
        send=asked,
        versions=versions,
        off=sorted(champions.off),
        policy=policy.name,
        is_dry=order.is_dry,
        n_duplicates=order.audience.n_duplicates,
        workers=order.workers,
    )


def job_of(send: Send, settings: ServingSettings, *, as_of: int, is_dry: bool = False) -> Job:
    """What each process must know, of the champions that a service which starts now answers with.

    Args:
        as_of: The one moment that all are scored at, microseconds.

    Raises:
        NoChampionError: Everybody would get the priors.
        ThrottleUnkeptError: The send has a throttle, which is over everybody at once.
    """
    if send.throttle is not None:
        raise ThrottleUnkeptError
    # A process may stand in another directory than this one.
    there = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    return _job(send, there, _champions(there), as_of, is_dry=is_dry)


def _job(
    send: Send,
    settings: ServingSettings,
    champions: Champions,
    as_of: int,
    *,
    is_dry: bool,
) -> Job:
    return Job(
        send=send.request(),
        as_of=as_of,
        policy=policy_of(settings),
        versions={name: one.version for name, one in champions.by_name.items()},
        off=champions.off,
        models_dir=settings.models_dir,
        online_address=settings.online_address,
        kept_address=settings.kept_address,
        sticky_days=settings.sticky_days,
        is_dry=is_dry,
    )


def _moment(order: Order, inputs: str, found: Sequence[Mapping[str, Any]]) -> int:
    """The one asked for, or that of an earlier run of the same inputs, or now; whole seconds."""
    if order.as_of is not None:
        return order.as_of
    for told in found:
        if told.get("inputs") == inputs and isinstance(told.get("as_of"), int):
            return int(told["as_of"])
    return order.now // SECOND_US * SECOND_US


def _is_made(before: Run, run: Run, out: Path) -> bool:
    """Whether the plan is there, of these inputs and this moment, as it was written."""
    if (before.inputs, before.as_of) != (run.inputs, run.as_of) or not out.is_file():
        return False
    return sha256_of(out) == before.sha256


def cores() -> int:
    """How many processes can work at once."""
    return len(os.sched_getaffinity(0))
