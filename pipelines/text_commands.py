"""The command that says which subject line to take, from comparisons of the past: choose-text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from features.errors import FileUnusableError
from pipelines.console import OUT, errors_shown, run_shown
from pipelines.policy_commands import interval_text
from pipelines.settings import Settings
from pipelines.tables import read_table, refuse_unfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from training.text_trial import Trial

MAX_TEXTS: Final = 1_000


def choose_text_command(
    *,
    past: Annotated[
        Path,
        typer.Option(
            help="A Parquet or CSV file of comparisons, one text of one test a row: test, text, "
            "shown (to how many) and clicked (how many of them did).",
            metavar="FILE",
            show_default=False,
        ),
    ],
    texts: Annotated[
        Path,
        typer.Option(
            help="The candidates, one a line; all are compared with the first.",
            metavar="FILE",
            show_default=False,
        ),
    ],
) -> None:
    """Rank subject lines by the words that won your own comparisons before.

    Shows first how often words put past comparisons right that they were not learnt from. Only
    where that is better than chance, the candidates are ranked.

    Exit code: 0 with any advice, 2 when a file cannot be used or holds too little.
    """
    with (
        errors_shown(),
        run_shown("choose-text", Settings().data_dir, past=past, texts=texts) as run,
    ):
        run.step("reading the files")
        rows, candidates = read_comparisons(past), read_texts(texts)
        from training.text_trial import try_texts

        run.step("judging words on comparisons that they were not learnt from")
        trial = try_texts(rows)
        chances = trial.chances(candidates) if trial.is_better_than_chance else None
        run.tell(
            is_better_than_chance=bool(trial.is_better_than_chance), tests=rows["test"].n_unique()
        )
    OUT.print(accuracy_table(trial))
    if chances is None:
        OUT.print("Verdict: words are not better than chance: choose yourself", soft_wrap=True)
        return
    OUT.print(ranking_table(candidates, chances))
    best = int(chances.argmax())
    told = "no candidate is likelier to win than the first"
    if best:
        share = _percent(float(chances[best]))
        told = f"`{escape(candidates[best])}` beats the first in {share} of such tests"
    OUT.print(f"Verdict: {told}", highlight=False, soft_wrap=True)


def read_comparisons(file: Path) -> "pl.DataFrame":
    """The past comparisons in a Parquet or CSV file.

    Raises:
        FileUnusableError: The file cannot be read, a column is missing or no number, a value is
            missing, or a text was clicked more often than shown, or never shown.
    """
    import polars as pl

    from training.text_trial import COLUMNS

    rows = read_table(file, COLUMNS)
    for name in COLUMNS:
        refuse_unfit(file, rows[name], is_number=name in {"shown", "clicked"})
    shown, clicked = pl.col("shown"), pl.col("clicked")
    odd = rows.with_row_index("row").filter((shown <= 0) | (clicked < 0) | (clicked > shown))
    if len(odd):
        row, of, some = odd.select("row", "shown", "clicked").row(0)
        problem = f"row {row} has {some} clicked of {of} shown"
        raise FileUnusableError(str(file), problem, "count recipients: 0 <= clicked <= shown")
    return rows


def read_texts(file: Path) -> list[str]:
    """The candidates in a text file, one a line, empty lines left out.

    Raises:
        FileUnusableError: It cannot be read, or holds no two texts, or too many.
    """
    remedy = f"write 2 to {MAX_TEXTS:,} different texts, one a line, UTF-8"
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusableError(str(file), str(error), remedy) from error
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not 2 <= len(found) <= MAX_TEXTS:
        raise FileUnusableError(str(file), f"it holds {len(found)} different texts", remedy)
    return found


def accuracy_table(trial: "Trial") -> Table:
    """How often each way puts past comparisons right, with 95 % intervals."""
    table = Table(title="Past comparisons put right", title_justify="left")
    for column in ("by", "all", "told apart at 5 %"):
        table.add_column(column)
    for name, measured in trial.every.items():
        surely = trial.surely.get(name)
        told = interval_text(surely, form=".3f") if surely else "too few"
        table.add_row(name, interval_text(measured, form=".3f"), told)
    n = int(trial.pairs.is_told_apart.sum())
    table.caption = f"{len(trial.pairs.z):,} pairs, {n:,} of them told apart; chance is 0.5."
    return table


def ranking_table(texts: "Sequence[str]", chances: "NDArray[np.float64]") -> Table:
    """The candidates, likeliest first, with their chance against the first of the list."""
    table = Table(title="Candidates", title_justify="left")
    table.add_column("text", overflow="fold")
    table.add_column("clicked more often than the first", justify="right")
    for place in sorted(range(len(texts)), key=lambda place: -chances[place]):
        told = _percent(float(chances[place])) if place else "(the first)"
        table.add_row(escape(texts[place]), told, style=None if place else "bold")
    return table


def _percent(chance: float) -> str:
    """Whole percent; never sure."""
    return "over 99%" if chance > 0.99 else "under 1%" if chance < 0.01 else f"{chance:.0%}"
