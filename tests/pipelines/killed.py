"""Commands in processes that are killed: started warm, so that what is killed is their work.

Every command runs in a process of its own, forked from one that has the libraries loaded and has
done nothing with them.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

LOADED = ["pipelines.cli", "pipelines.same_order", "features.feast_store", "pipelines.plan_run"]
WARM = multiprocessing.get_context("forkserver")


def _opportune(data_dir: Path, words: Sequence[str], told: Connection) -> None:
    os.environ |= {"OPPORTUNE_DATA_DIR": str(data_dir), "OPPORTUNE_SEED": "7"}
    os.dup2(told.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    from pipelines.cli import app  # noqa: PLC0415  loaded by the process this one is forked from

    app(list(words))


class Command:
    """One run of `opportune`, told of by what it says on standard error; `said` in the end."""

    def __init__(self, data_dir: Path, *words: str) -> None:
        WARM.set_forkserver_preload(LOADED)
        ours, theirs = WARM.Pipe(duplex=False)
        self._process = WARM.Process(target=_opportune, args=(data_dir, words, theirs))
        self._process.start()
        theirs.close()
        self._lines = os.fdopen(os.dup(ours.fileno()), "r")
        ours.close()

    def until(self, step: str) -> bool:
        """Wait until it says that a step begins; False where it ends before."""
        return any(step in line for line in self._lines)

    def kill(self, *, after_s: float) -> bool:
        """SIGKILL it; whether it was still at work."""
        self._process.join(after_s)
        is_alive = self._process.is_alive()
        self._process.kill()
        self.end()
        return is_alive

    def end(self) -> tuple[int | None, float]:
        """Its exit code, and the seconds that it took from now on."""
        began = time.perf_counter()
        self.said = self._lines.read()
        self._process.join()
        self._lines.close()
        return self._process.exitcode, time.perf_counter() - began


def whole(data_dir: Path, *words: str) -> float:
    """Run a command to its end; the seconds it took."""
    command = Command(data_dir, *words)
    code, seconds = command.end()
    assert code == 0, (words, code, command.said[-3_000:])
    return seconds
