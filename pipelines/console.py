"""What every command shares: consoles, steps shown while they run, errors in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from features.errors import FeatureError
from models.errors import ModelError
from pipelines.errors import PlanError
from serving.errors import ServingError
from training.errors import TrainingError

UNUSABLE: Final = 2
REFUSED: Final = 3  # a gate says no; nothing has changed

OUT: Final = Console()
ERR: Final = Console(stderr=True, soft_wrap=True)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show an expected error as one red line, without a traceback, and leave with code 2."""
    try:
        yield
    except (
        FeatureError,
        ModelError,
        PlanError,
        ServingError,
        TrainingError,
        ValidationError,
    ) as error:
        show_error(error)
        raise typer.Exit(UNUSABLE) from None


def show_error(error: Exception) -> None:
    """One red line on standard error."""
    line = " ".join(str(error).split())
    ERR.print(Text(f"error: {line}", style="red"))


@contextmanager
def steps_shown(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner that says what is being done; without a terminal, one line a step."""
    if not ERR.is_terminal:
        yield lambda text: ERR.print(Text(f"{title}: {text}", style="dim"))
        return
    with ERR.status(title) as status:
        yield lambda text: status.update(f"{title}: {text}")
