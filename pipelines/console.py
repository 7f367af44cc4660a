"""What every command shares: consoles, steps shown while they run, errors in one line."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.text import Text

from features.errors import FeatureError
from features.events.rewritten import rewriting_named
from models.errors import ModelError
from pipelines.errors import PlanError, RunError
from pipelines.runs import Recorder, newly_killed, recorded
from serving.errors import ServingError
from serving.settings import wrong_settings
from training.errors import TrainingError

UNUSABLE: Final = 2
REFUSED: Final = 3  # a gate says no; nothing has changed

OUT: Final = Console()
ERR: Final = Console(stderr=True, soft_wrap=True)

_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
EXPECTED: Final = (
    FeatureError,
    ModelError,
    OSError,  # a disk that is full or may not be written; it names the file
    PlanError,
    RunError,
    ServingError,
    SettingsError,
    TrainingError,
    ValidationError,
)


def say(line: str) -> None:
    """Print a line as it is, however long: a path in it is never broken."""
    OUT.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show an expected error as one red line, without a traceback, and leave with code 2."""
    try:
        yield
    except EXPECTED as error:
        show_error(error)
        raise typer.Exit(UNUSABLE) from None


def show_error(error: Exception) -> None:
    """One red line on standard error."""
    told = str(error)
    if isinstance(error, SettingsError | ValidationError):
        told = " ".join(wrong_settings(error)) or told
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        told += "; give this user the right to it, or name another place "
        told += "(OPPORTUNE_DATA_DIR for what is kept)"
    line = " ".join(told.split())
    ERR.print(Text(f"error: {line}", style="red"))


@contextmanager
def steps_shown(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner that says what is being done; without a terminal, one line a step."""
    if not ERR.is_terminal:
        yield lambda text: ERR.print(Text(f"{title}: {text}", style="dim"))
        return
    with ERR.status(title) as status:
        yield lambda text: status.update(f"{title}: {text}")


@contextmanager
def run_shown(
    command: str,
    data_dir: Path,
    *,
    as_of: int | None = None,
    is_still: bool = False,
    **parameters: Any,
) -> Iterator[Recorder]:
    """A run of a command, on record and with its steps shown.

    Says first which runs before it were killed.

    Args:
        as_of: Microseconds.
        is_still: Its steps are only recorded, because it is short or shows a bar of its own.
        parameters: What the command was asked, for the record: no recipient key, no secret.
    """
    runs_dir = data_dir / "runs"
    for run in newly_killed(runs_dir):
        where = f" in the step: {run.steps[-1].name}" if run.steps else ""
        said = f"{run.command} of {run.began_at[:16]} ({run.id}) was killed{where}"
        ERR.print(Text(said, style="yellow"))
    with ExitStack() as opened:
        show = None if is_still else opened.enter_context(steps_shown(command))
        recorder = opened.enter_context(
            recorded(
                runs_dir, command, as_of=as_of, parameters=parameters, expected=EXPECTED, show=show
            )
        )
        opened.enter_context(rewriting_named())
        yield recorder
