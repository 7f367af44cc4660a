"""The state of the log as tables."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table

from features.events.schema import DAY_US, SECOND_US

if TYPE_CHECKING:
    from features.quality import Quality


def sources_table(found: "Quality", *, as_of: int) -> Table:
    """What every source sent."""
    table = Table(title="Sources, last four weeks", title_justify="left")
    for column in ("provider", "type"):
        table.add_column(column)
    for column in ("events", "recipients", "newest, days ago"):
        table.add_column(column, justify="right")
    for provider, kind, events, recipients, _, newest in found.sources.iter_rows():
        age = (as_of - newest) / DAY_US
        table.add_row(provider, kind, f"{events:,}", f"{recipients:,}", f"{age:.1f}")
    return table


def findings_table(found: "Quality", *, as_of: int) -> Table | str:
    """What is wrong and what to do; without events, how to get some."""
    if found.sources.is_empty():
        until = datetime.fromtimestamp(as_of / SECOND_US, UTC)
        return (
            f"No events to check: none became known in the four weeks before {until:%Y-%m-%d %H:%M}"
            " UTC. `opportune ingest FILE` takes some in, `opportune simulate FILE` makes some up, "
            "and --as-of judges a moment of the past."
        )
    if not found.findings:
        return "Nothing to complain about."
    table = Table(title="Findings", title_justify="left")
    for column in ("", "where", "what", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in found.findings:
        style = "red" if finding.severity.value == "alarm" else "yellow"
        row = (finding.severity.value, finding.where, finding.what, finding.remedy)
        table.add_row(*row, style=style)
    return table
