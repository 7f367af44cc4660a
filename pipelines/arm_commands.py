"""The command that says which mail to whom after a randomised mailing: choose-arm."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.console import OUT, errors_shown, run_shown
from pipelines.policy_commands import interval_text
from pipelines.settings import Settings
from pipelines.tables import read_table, refuse_unfit

if TYPE_CHECKING:
    from models.report import Measured
    from training.arms import Choice
    from training.arms_trial import Trial


def choose_arm_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="A Parquet or CSV file of a mailing whose arms were drawn by chance, one "
            "recipient a row: recipient_key, arm, outcome, maybe propensity (chance of the arm "
            "drawn). Every other column is context: what was known of the recipient before.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    *,
    control: Annotated[
        str | None,
        typer.Option(
            help="The arm that others are compared with, such as no mail: adds the effect of "
            "every other arm and its Qini.",
            metavar="ARM",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Deals recipients into folds.", min=0)] = 7,
) -> None:
    """Choose one mail for everybody or each recipient's own, from a randomised mailing.

    Shows what each arm earns when everybody gets it, what personal choices earn, and whether
    they surely earn more than the best arm; only then they are advised.

    Exit code: 0 with any advice, 2 when the file cannot be used.
    """
    with (
        errors_shown(),
        run_shown("choose-arm", Settings().data_dir, file=file, control=control, seed=seed) as run,
    ):
        run.step("reading the file")
        trial = read_trial(file)
        against = None if control is None else trial.number_of(control)
        from training.arms import choose, deal_out, effect_of, qini_of

        deals = deal_out(trial, seed=seed, step=run.step)
        choice = choose(trial, deals)
        effects = {}
        for number, arm in enumerate(trial.arms):
            if against is not None and number != against:
                run.step(f"ranking by the uplift of {arm}")
                effects[arm] = (
                    effect_of(trial, deals, number, against),
                    qini_of(trial, deals, number, against, seed=seed),
                )
        run.tell(verdict=choice.verdict)
    OUT.print(values_table(choice))
    if control is not None:
        OUT.print(uplift_table(effects, control=control))
    if trial.is_even:
        OUT.print("No column propensity: the arms are taken as drawn evenly.", soft_wrap=True)
    OUT.print(f"Verdict: {escape(choice.verdict)}", highlight=False, soft_wrap=True)


def read_trial(file: Path) -> "Trial":
    """The experiment in a Parquet or CSV file.

    Raises:
        FileUnusableError: The file cannot be read, a column is missing or no number, or a value
            is missing; the error names column and row.
        PolicyLogError: A value is out of range, or the arms were not drawn as stated.
    """
    import polars as pl

    from training.arms_trial import KEYS, OUTCOME, PROPENSITY, trial_of

    needed = (*KEYS, OUTCOME)
    rows = read_table(file, needed)
    rows = rows.with_columns(pl.col(pl.Boolean).cast(pl.Int8))
    for name in (*needed, PROPENSITY):
        if name in rows.columns:
            refuse_unfit(file, rows[name], is_number=name not in KEYS)
    return trial_of(rows)


def values_table(choice: "Choice") -> Table:
    """What every arm and the personal choices earn, and what those choices add to each arm."""
    table = Table(title="Outcome per recipient", title_justify="left")
    for column in ("everybody gets", "value, 95 % interval", "personal choices add"):
        table.add_column(column)
    for number, arm in enumerate(choice.arms):
        style = "bold" if number == choice.best and not choice.is_personal else None
        gain = interval_text(choice.gains[number], form="+.3g")
        cells = (escape(arm), interval_text(choice.values[number]), gain)
        table.add_row(*cells, style=style)
    mix = ", ".join(
        f"{share:.0%} {escape(arm)}" for arm, share in zip(choice.arms, choice.shares, strict=True)
    )
    style = "bold" if choice.is_personal else None
    table.add_row("a personal choice", interval_text(choice.personal), "", style=style)
    table.caption = f"Personal choices: {mix}. They are judged on recipients they did not see."
    return table


def uplift_table(effects: dict[str, tuple["Measured", "Measured"]], *, control: str) -> Table:
    """Effect of every other arm on the control arm, and how well its uplift ranks recipients."""
    table = Table(title=f"Against {escape(control)}", title_justify="left")
    for column in ("arm", "effect, 95 % interval", "Qini, 95 % interval"):
        table.add_column(column)
    for arm, (effect, qini) in effects.items():
        table.add_row(
            escape(arm), interval_text(effect, form="+.3g"), interval_text(qini, form="+.3g")
        )
    table.caption = "Qini is 0 for a ranking that says nothing about who is moved."
    return table
