"""What a command did: a run with its steps, on disk after each of them.

    <data_dir>/runs/<id>/run.json   command, moment, parameters, steps, outcome, what came of it
    <data_dir>/runs/<id>/run.log    a line a step

A run that cannot be put on record, for want of room say, is told of and goes on: a rollback must
not wait for a disk to be cleared.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import typer

from features.events.durable import make_directory
from pipelines.json_files import json_of, put_json
from pipelines.run_folders import folders_in, is_alive, locked, stamp, tidy

LOG: Final = logging.getLogger("opportune.runs")
FILE: Final = "run.json"
LINES: Final = "run.log"
LOOKED_AT: Final = 50  # newest runs, of which one may have been killed
RUNNING, DONE, FAILED, INTERRUPTED, KILLED = "running", "done", "failed", "interrupted", "killed"
_PASSWORD: Final = re.compile(r"://[^/@\s]+@")
Clock = Callable[[], int]


@dataclass(slots=True)
class Step:
    """A step; `seconds` is None for the one that the run is in, or was killed in."""

    name: str
    at: str
    seconds: float | None = None


@dataclass(slots=True)
class Run:
    """A run of a command.

    Args:
        as_of: Nothing later was read; in ISO 8601, empty where the command has no such moment.
        parameters: What it was asked; no recipient key and no secret is ever among them.
        outcome: `running`, `done`, `failed`, `interrupted` (Ctrl-C) or `killed`.
        seconds: Of all steps; None without an end.
        error: Why it failed, in one line.
        facts: What came of it, for whoever looks later.
    """

    id: str
    command: str
    as_of: str
    parameters: dict[str, Any]
    version: str
    began_at: str
    steps: list[Step] = field(default_factory=list)
    outcome: str = RUNNING
    seconds: float | None = None
    error: str = ""
    exit_code: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where there is none, or it is of another version; a dead one is `killed`."""
        told = dict(json_of(folder / FILE))
        try:
            run = cls(**told | {"steps": [Step(**step) for step in told["steps"]]})
        except (TypeError, KeyError):
            return None
        if run.outcome == RUNNING and not is_alive(folder):
            run.outcome = KILLED
        return run


class Recorder:
    """A run that goes on: told of its steps and of what came of it."""

    def __init__(
        self, run: Run, folder: Path, clock: Clock, show: Callable[[str], None] | None
    ) -> None:
        self.run = run
        self._folder = folder
        self._clock = clock
        self._show = show
        self._began = self._step_began = time.perf_counter()
        self._is_writable = True
        self.exit_code = 0
        self.error = ""

    def step(self, name: str) -> None:
        """The step before has ended, this one begins."""
        self._end_step()
        self.run.steps.append(Step(name, _iso(self._clock())))
        self.put()
        LOG.info("%s %s: %s", self.run.id, self.run.command, name)
        if self._show is not None:
            self._show(name)

    def tell(self, **facts: Any) -> None:
        """Add to what came of it; kept with the next step or the end."""
        self.run.facts |= facts

    def at(self, as_of: int) -> None:
        """The moment (microseconds), where it is found out on the way."""
        self.run.as_of = _iso(as_of)

    def leave(self, exit_code: int, *, error: str = "") -> None:
        """The code that the command ends with after its block, and the errors it has shown."""
        self.exit_code, self.error = exit_code, error

    def end(self, outcome: str, *, error: str = "", exit_code: int | None = None) -> None:
        """The last word."""
        self._end_step()
        run = self.run
        run.outcome, run.exit_code = outcome, exit_code
        run.error = _PASSWORD.sub("://...@", " ".join(error.split()))
        run.seconds = round(time.perf_counter() - self._began, 3)
        self.put()
        LOG.info("%s %s: %s in %.1f s %s", run.id, run.command, outcome, run.seconds, run.error)

    def put(self) -> None:
        """Write what there is; after the first refusal nothing is tried again."""
        if not self._is_writable:
            return
        try:
            put_json(self._folder / FILE, asdict(self.run))
        except OSError as error:
            self.refused(error)

    def refused(self, error: OSError) -> None:
        """There is no place for the record: say why, once, and go on without."""
        if self._is_writable:
            LOG.warning("this run is not put on record: %s", error)
        self._is_writable = False

    def _end_step(self) -> None:
        now = time.perf_counter()
        if self.run.steps:
            self.run.steps[-1].seconds = round(now - self._step_began, 3)
        self._step_began = now


@contextmanager
def recorded(  # noqa: PLR0913  what a run is known by
    runs_dir: Path,
    command: str,
    *,
    as_of: int | None = None,
    parameters: Mapping[str, Any],
    expected: tuple[type[Exception], ...],
    show: Callable[[str], None] | None = None,
    clock: Clock = time.time_ns,
) -> Iterator[Recorder]:
    """Put what happens inside the block on record, and tidy old runs.

    Args:
        as_of: Microseconds.
        expected: Errors whose words are safe to keep; of any other only the kind is kept, as its
            words may hold a row of data.
        show: Shows a step to whoever waits.
        clock: Nanoseconds.
    """
    began = clock()
    run = Run(
        id=f"{stamp(began // 1_000)}-{secrets.token_hex(3)}",
        command=command,
        as_of="" if as_of is None else _iso(as_of),
        parameters={name: _plain(value) for name, value in parameters.items()},
        version=version("opportune"),
        began_at=_iso(began // 1_000),
    )
    folder = runs_dir / run.id
    recorder = Recorder(run, folder, lambda: clock() // 1_000, show)
    with ExitStack() as opened:
        try:
            make_directory(folder)
            opened.enter_context(locked(folder))
            opened.enter_context(_lines_in(folder / LINES))
        except OSError as error:
            recorder.refused(error)
        tidy(runs_dir, now=began // 1_000)
        recorder.put()
        try:
            yield recorder
        except typer.Exit as left:
            recorder.end(_outcome(left.exit_code), exit_code=left.exit_code)
            raise
        except KeyboardInterrupt:
            recorder.end(INTERRUPTED)
            raise
        except expected as error:
            recorder.end(FAILED, error=str(error), exit_code=2)
            raise
        except BaseException as error:
            recorder.end(FAILED, error=type(error).__name__, exit_code=2)
            raise
        code = recorder.exit_code
        recorder.end(_outcome(code), error=recorder.error, exit_code=code)


def runs_in(runs_dir: Path, *, most: int | None = None) -> list[Run]:
    """The runs on record, newest first."""
    found = (Run.read(folder) for folder in folders_in(runs_dir)[:most])
    return [run for run in found if run is not None]


def newly_killed(runs_dir: Path) -> list[Run]:
    """Runs that were killed and not told of before; from now on they are."""
    told = []
    for folder in folders_in(runs_dir)[:LOOKED_AT]:
        run = Run.read(folder)
        if run is None or run.outcome != KILLED:
            continue
        if json_of(folder / FILE).get("outcome") == RUNNING:
            with suppress(OSError):
                put_json(folder / FILE, asdict(run))
                told.append(run)
    return told


@contextmanager
def _lines_in(file: Path) -> Iterator[None]:
    """The program's lines about runs, in a file as well."""
    lines = logging.FileHandler(file)
    lines.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = LOG.level
    LOG.setLevel(logging.INFO)
    LOG.addHandler(lines)
    try:
        yield
    finally:
        LOG.removeHandler(lines)
        LOG.setLevel(before)
        lines.close()


def _outcome(exit_code: int) -> str:
    """1 is an alarm: nothing is wrong with the command."""
    return DONE if exit_code <= 1 else FAILED


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")
