"""The demo's story as tables and links."""

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table

from pipelines.demo import Answer, Demo


def show(told: Demo, out: Console) -> None:
    """Print what happened."""
    out.print(
        _took(told),
        _models(told),
        _gates(told),
        _answers(told),
        _fresh(told),
        _swap(told),
        _links(told),
    )


def _took(told: Demo) -> Table:
    table = Table(title="What was done", title_justify="left")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("what came of it")
    ingested = told.ingested
    said = {} if ingested is None else {
        "simulate": f"{told.truth.height:,} people; what is true of them is kept apart",
        "ingest": f"{ingested.accepted:,} events durable, {ingested.rejected.total()} rejected",
        "materialize": "states folded, registered in Feast, online in the packed store",
        "start the service": told.service_url,
        "score over HTTP": f"{len(told.answers) + 1} answers",
        "render a mail": str(told.mail),
    }  # fmt: skip
    said |= {f"train {c.version.name}": f"version {c.version.version}" for c in told.candidates}
    for name, seconds in told.took.items():
        table.add_row(name, f"{seconds:.1f}", said.get(name, ""))
    return table


def _models(told: Demo) -> Table:
    table = Table(title="Models, measured on their exported graphs", title_justify="left")
    table.add_column("model")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("baselines not beaten", overflow="fold")
    for candidate in told.candidates:
        report = candidate.report
        missed = ", ".join(report.not_beaten) or "none"
        for place, (name, measured) in enumerate(report.row.measures.items()):
            first = place == 0
            row = (report.model if first else "", name, measured.short, missed if first else "")
            table.add_row(*row)
    return table


def _gates(told: Demo) -> Table:
    title = "Would `opportune promote` let them through? The demo forces what is refused"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    table.add_column("verdict")
    table.add_column("why", overflow="fold")
    for name, verdict in told.verdicts.items():
        if verdict is not None:
            outcome = "passed" if verdict.passed else "refused, promoted by force"
            table.add_row(name, outcome, "; ".join(verdict.reasons))
    return table


def _answers(told: Demo) -> Table:
    table = Table(title="Scores, as the renderer gets them", title_justify="left")
    for column in ("recipient", "send at", "P(engage)", "churn", "show", "evidence", "fallback"):
        table.add_column(column, overflow="fold")
    for answer in told.answers:
        churn = answer["churn"]
        table.add_row(
            answer["recipient_key"],
            answer["send_time"]["best_at"][5:16].replace("T", " ")
            + f" {answer['send_time']['tz']}",
            f"{answer['send_time']['p_engage']:.3f}",
            f"{churn['p_churn']:.2f} {churn['band']}",
            answer["content"]["variant"],
            str(answer["evidence_n"]),
            answer["fallback"]["reason"],
        )
    return table


def _fresh(told: Demo) -> Table:
    key = told.before["recipient_key"]
    title = f"{key} clicked five times on {told.clicked_topic}: the next score knows"
    table = Table(title=title, title_justify="left")
    table.add_column("item")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    before, after = _chances(told.before), _chances(told.after)
    for item, chance in after.items():
        name = f"{item} (clicked)" if item == told.clicked_item else item
        table.add_row(name, f"{before[item]:.4f}", f"{chance:.4f}")
    return table


def _chances(answer: Answer) -> dict[str, float]:
    return {row["content_id"]: row["p_click"] for row in answer["content"]["ranking"]}


def _swap(told: Demo) -> Panel:
    old, new, seconds = told.swapped
    text = (
        f"The alias `champion` of churn moved in MLflow from version {old}; the running service "
        f"answered with version {new} after {seconds:.1f} s, without a restart."
    )
    return Panel(text, title="A champion swapped", title_align="left")


def _links(told: Demo) -> Group:
    first = told.before["recipient_key"]
    lines = (
        f"Review the models:  {told.mlflow_url}/#/models",
        f"Try the API:        {told.service_url}/docs",
        f"Look at one:        {told.service_url}/inspect/{first}",
        f"The rendered mail:  {told.mail}",
        "One score:          "
        f'curl -s {told.service_url}/v1/score -d \'{{"recipient_key": "{first}"}}\'',
    )
    return Group(*lines)
