"""A verdict as a terminal shows it."""

from rich.table import Table

from models.verdict import Verdict


def gates_table(name: str, version: str, verdict: Verdict) -> Table:
    """Every gate with its outcome and what was found."""
    outcome = "passed" if verdict.passed else "refused"
    title = f"{name} {version}, route {verdict.route.value}: {outcome}"
    table = Table(title=title, title_justify="left")
    table.add_column("gate")
    table.add_column("outcome")
    table.add_column("found", overflow="fold")
    for gate in verdict.gates:
        said = "passed" if gate.passed else "refused"
        table.add_row(gate.name, said, gate.said, style=None if gate.passed else "yellow")
    return table
