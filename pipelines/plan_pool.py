"""Chunks over processes: as many as asked, each with one thread, none outliving the run."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Thread
from typing import Final

from threadpoolctl import threadpool_limits

from features.errors import FeatureError
from models.errors import ModelError
from pipelines.audience import Chunk
from pipelines.errors import PlanUnfinishedError
from pipelines.plan_chunk import Job, Planner

AHEAD: Final = 2  # chunks a process that are handed out before it asks
Task = tuple[Chunk, Path]
_PLANNERS: Final[list[Planner]] = []  # of this process, once it has begun


def written(job: Job, tasks: Iterable[Task], *, workers: int, out: Path) -> Iterator[int]:
    """Write the parts of chunks; how many recipients each part has that is there now.

    Raises:
        PlanUnfinishedError: A part could not be written, or a process was ended; those that were
            told are there.
    """
    if workers == 1:
        with threadpool_limits(1):
            yield from _written_here(job, tasks, out)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(job,)) as pool:
        waiting: dict[Future[str], int] = {}
        try:
            for chunk, part in tasks:
                if len(waiting) >= AHEAD * workers:
                    yield _first_done(waiting, out)
                waiting[pool.submit(_write, chunk, part)] = len(chunk.keys)
            while waiting:
                yield _first_done(waiting, out)
        except BrokenProcessPool as error:
            problem = "a process was ended, maybe for want of memory (--workers takes fewer)"
            raise PlanUnfinishedError(out, problem) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _first_done(waiting: dict[Future[str], int], out: Path) -> int:
    """Wait until some part is there; how many recipients are in those that are now."""
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for one in done:
        _check(one.result(), out)
    return sum(waiting.pop(one) for one in done)


def _written_here(job: Job, tasks: Iterable[Task], out: Path) -> Iterator[int]:
    planner = Planner(job)
    _collect_by_hand()
    try:
        for chunk, part in tasks:
            _check(_attempt(planner, chunk, part), out)
            yield len(chunk.keys)
    finally:
        gc.enable()
        gc.unfreeze()


def _collect_by_hand() -> None:
    """Let `_attempt` call Python's collector, and never for what is there by now.

    What a chunk makes dies with it, hardly any of it in circles.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def _check(problem: str, out: Path) -> None:
    if problem:
        raise PlanUnfinishedError(out, problem)


def _begin(job: Job) -> None:
    """What a new process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent,), daemon=True).start()
    threadpool_limits(1)
    _PLANNERS.append(Planner(job))
    _collect_by_hand()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A process whose parent was killed would wait for chunks for ever."""
    parent.join()
    os._exit(1)


def _write(chunk: Chunk, part: Path) -> str:
    return _attempt(_PLANNERS[0], chunk, part)


def _attempt(planner: Planner, chunk: Chunk, part: Path) -> str:
    """What went wrong, empty for nothing: our errors do not travel between processes."""
    try:
        planner.write(chunk, part)
    except (FeatureError, ModelError, OSError) as error:
        return str(error)
    finally:
        gc.collect()
    return ""
