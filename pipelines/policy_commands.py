"""The command that judges a policy from the log of another: evaluate-policy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.console import OUT, errors_shown, run_shown
from pipelines.settings import Settings
from pipelines.tables import refuse_unfit

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from models.report import Measured
    from training.off_policy import Valued
    from training.off_policy_log import Logged, Target
    from training.off_policy_report import Overlap, Verdict

KEYS: Final = ("recipient_key", "action")
NUMBERS: Final = ("reward", "propensity", "target")
MODEL: Final = ("q_logged", "q_target")


def evaluate_policy_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="A Parquet file, one decision a row: recipient_key, action, reward, propensity "
            "(of the action taken), target (chance that the policy under judgement takes it); "
            "maybe q_logged and q_target (a reward model's value of the action and of the "
            "policy) and slot.",
            metavar="LOG",
            show_default=False,
        ),
    ],
    *,
    lift: Annotated[
        float | None,
        typer.Option(
            help="Relative difference that must be visible before 'not different' is said. "
            "[default: 0.25]",
            show_default=False,
            min=0.001,
        ),
    ] = None,
) -> None:
    """Judge a policy from the log of the one that ran.

    Shows every estimate with its interval, how far the log covers what the policy would do,
    and the verdict: better, worse, not different, or not assessable with the reasons.

    Exit code: 0 with any verdict, 2 when the file cannot be used.
    """
    with (
        errors_shown(),
        run_shown(
            "evaluate-policy", Settings().data_dir, is_still=True, file=file, lift=lift
        ) as run,
    ):
        from training.off_policy_report import Limits, judge

        run.step("reading the file")
        logged, target = read_decisions(file)
        run.step("judging the policy")
        judged = judge(logged, target, limits=Limits() if lift is None else Limits(lift=lift))
        run.tell(verdict=judged.verdict.outcome.value, rows=judged.overlap.n_rows)
    OUT.print(estimates_table(judged.valued))
    OUT.print(overlap_table(judged.overlap))
    OUT.print(verdict_text(judged.verdict), highlight=False, soft_wrap=True)


def read_decisions(file: Path) -> tuple["Logged", "Target"]:
    """The log and the target policy of a Parquet file.

    Raises:
        FileUnusableError: The file cannot be read, a column is missing or no number, or a value
            is missing; the error names column and row.
        PolicyLogError: A value is out of range.
    """
    import polars as pl

    from features.errors import FileUnusableError
    from training.off_policy_log import Logged, Target

    remedy = f"write Parquet with the columns {', '.join((*KEYS, *NUMBERS))}"
    try:
        rows = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise FileUnusableError(str(file), str(error), remedy) from error
    missing = [name for name in (*KEYS, *NUMBERS) if name not in rows.columns]
    if missing:
        problem = f"there is no column {missing[0]}"
        raise FileUnusableError(str(file), problem, remedy)
    given = [name for name in (*KEYS, *NUMBERS, *MODEL, "slot") if name in rows.columns]
    for name in given:
        refuse_unfit(file, rows[name], is_number=name not in (*KEYS, "slot"))
    reward, propensity, p_target = (_numbers(rows[name]) for name in NUMBERS)
    logged = Logged(
        action=_codes(rows["action"]),
        reward=reward,
        propensity=propensity,
        group=_codes(rows["recipient_key"]),
        slot=rows["slot"].cast(pl.String).to_numpy() if "slot" in given else None,
    )
    q = {name: _numbers(rows[name]) for name in MODEL if name in given}
    return logged, Target(p_target, **q)


def estimates_table(valued: "Valued") -> Table:
    """What every estimator says, alone and against the log."""
    table = Table(title="Reward per decision", title_justify="left")
    for column in ("estimator", "value, 95 % interval", "against the log, 95 % interval"):
        table.add_column(column)
    table.add_row("the log's mean", interval_text(valued.logged), "")
    for name, found in valued.estimates.items():
        style = "bold" if found is valued.best else None
        table.add_row(
            name, interval_text(found.value), interval_text(found.gain, form="+.3g"), style=style
        )
    table.caption = "The verdict rests on the bold row; no interval of DM holds its model's error."
    return table


def overlap_table(overlap: "Overlap") -> Table:
    """How far the log covers the target policy."""
    table = Table(title="Overlap", title_justify="left", show_header=False)
    table.add_column("measure")
    table.add_column("found", justify="right")
    for name, found in (
        ("rows", f"{overlap.n_rows:,}"),
        ("recipients", f"{overlap.n_groups:,}"),
        ("effective rows", f"{overlap.ess:,.0f} ({overlap.ess_share:.1%})"),
        ("matched positives", f"{overlap.matched:,}"),
        ("rows the policy would never take", f"{overlap.zero_share:.1%}"),
        ("largest share of one recipient", f"{overlap.group_share:.2%}"),
        ("mean weight, must be 1", interval_text(overlap.mean_weight)),
        *((f"  in slot {k}", interval_text(m)) for k, m in overlap.by_slot.items()),
        *((f"weight, quantile {q:g}", f"{w:.3g}") for q, w in overlap.quantiles.items()),
        ("largest weight", f"{overlap.max_weight:.3g}"),
    ):
        table.add_row(escape(name), found)
    return table


def verdict_text(verdict: "Verdict") -> str:
    """The verdict, its reasons, and how many more rows would be needed."""
    lines = [f"Verdict: {verdict.outcome}", *(f"  {escape(why)}" for why in verdict.reasons)]
    if verdict.more_rows:
        lines.append(f"  about {verdict.more_rows:,} more rows of this kind are needed")
    return "\n".join(lines)


def _codes(column: "pl.Series") -> "NDArray[np.int64]":
    return (column.rank("dense").cast(int) - 1).to_numpy()


def _numbers(column: "pl.Series") -> "NDArray[np.float64]":
    return column.cast(float).to_numpy()


def interval_text(measured: "Measured", *, form: str = ".4g") -> str:
    """A number with its interval, for a cell of a table."""
    between = f"{measured.low:{form}}, {measured.high:{form}}"
    return f"{measured.value:{form}} \\[{between}]"
