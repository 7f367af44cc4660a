"""A monitoring as a terminal shows it."""

from rich.table import Table
from rich.text import Text

from pipelines.monitored import Monitored
from training.monitoring.findings import Judgement, Signal

_STYLES = {Judgement.ALARM: "red", Judgement.NOTICE: "yellow", Judgement.UNJUDGED: "dim"}
_ORDER = (Judgement.ALARM, Judgement.NOTICE, Judgement.FINE, Judgement.UNJUDGED)


def in_order(told: Monitored) -> list[Signal]:
    """What is broken first."""
    return sorted(told.signals, key=lambda signal: _ORDER.index(signal.judgement))


def value_of(signal: Signal) -> str:
    """The number, or nothing."""
    return "" if signal.value is None else f"{signal.value:.4g}"


def signals_table(told: Monitored) -> Table:
    """Every signal with its value, bound and verdict."""
    table = Table(title="Signals", title_justify="left")
    for column in ("signal", "of"):
        table.add_column(column, overflow="fold")
    table.add_column("value", justify="right")
    for column in ("alarm", "verdict", "found"):
        table.add_column(column, overflow="fold")
    for signal in in_order(told):
        said = f"{signal.said}; {signal.remedy}" if signal.remedy else signal.said
        cells = (signal.name, signal.subject, value_of(signal), signal.bound,
                 signal.judgement.value, said)  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES.get(signal.judgement))
    return table


def triggers_table(told: Monitored) -> Table:
    """What asks for a retrain."""
    table = Table(title="Retrain", title_justify="left")
    for column in ("model", "due", "why"):
        table.add_column(column, overflow="fold")
    for due in told.dues:
        why = "; ".join(f"{trigger.value}: {reason}" for trigger, reason in due.reasons)
        style = "yellow" if due.is_due else None
        table.add_row(due.model, "yes" if due.is_due else "no", Text(why), style=style)
    return table
