"""The demo's story as tables and links."""

from rich.console import Console, Group
from rich.table import Table

from models.report import Measured
from pipelines.demo import Demo
from pipelines.demo_scenes import Answer
from pipelines.demo_weeks import DRIFTS_AFTER, Week


def show(told: Demo, out: Console) -> None:
    """Print what happened."""
    out.print(
        _took(told),
        _models(told),
        _gates(told),
        _weeks(told),
        _answers(told),
        _fresh(told),
        _links(told),
    )


def _took(told: Demo) -> Table:
    table = Table(title="What was done", title_justify="left")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("what came of it")
    ingested = told.ingested
    said = {} if ingested is None else {
        "simulate": f"{told.n_recipients:,} people; what is true of them is kept apart",
        "ingest": f"{ingested.accepted:,} events durable, {ingested.rejected.total()} rejected",
        "materialize": "states folded, registered in Feast, online in the packed store",
        "start the service": told.service_url,
        "play the weeks": f"{sum(week.worth.n for week in told.weeks):,} mails decided",
        "score over HTTP": f"{len(told.scores.answers) + 1} answers",
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
        table.add_column(column, overflow="fold", no_wrap=column in {"recipient", "show"})
    for answer in told.scores.answers:
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
    key = told.scores.before["recipient_key"]
    title = f"{key} clicked five times on {told.scores.clicked_topic}: the next score knows"
    table = Table(title=title, title_justify="left")
    table.add_column("item")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    before, after = _chances(told.scores.before), _chances(told.scores.after)
    for item, chance in after.items():
        name = f"{item} (clicked)" if item == told.scores.clicked_item else item
        table.add_row(name, f"{before[item]:.4f}", f"{chance:.4f}")
    return table


def _chances(answer: Answer) -> dict[str, float]:
    return {row["content_id"]: row["p_click"] for row in answer["content"]["ranking"]}


def _weeks(told: Demo) -> Table:
    """What the decisions were worth, week by week, and who can know."""
    table = Table(
        title="Weeks of decided mails, beside what the sender would have sent",
        title_justify="left",
        caption=_caption(told),
        caption_justify="left",
    )
    table.add_column("week", justify="right")
    table.add_column("engaged within 24 h: true", justify="right")
    table.add_column("the holdout says, so far", justify="right")
    table.add_column("opt-outs: true", justify="right")
    table.add_column("what happened", overflow="fold")
    for number, week in enumerate(told.weeks, 1):
        table.add_row(
            str(number),
            f"{week.worth.lift:+.1%}",
            "" if week.held_out is None else _percent(week.held_out),
            f"{week.worth.left:+.1%}",
            "; ".join(_happened(number, week)),
        )
    return table


def _caption(told: Demo) -> str:
    if told.worth is None:
        return ""
    all_weeks = told.worth
    return (
        f"All weeks: {all_weeks.lift:+.1%} engagement per mail, {all_weeks.gained:+.1%} per "
        f"recipient and send, of {all_weeks.n:,}; {all_weeks.held:.1%} were held back as not worth "
        f"their risk, {all_weeks.fallbacks:.1%} answered by a fallback (people nobody knows yet)."
    )


def _percent(measured: Measured) -> str:
    return f"{measured.value:+.1%} [{measured.low:+.1%}, {measured.high:+.1%}]"


def _happened(number: int, week: Week) -> list[str]:
    told = []
    if number == DRIFTS_AFTER + 1:
        told.append("everybody's taste is somebody else's from here on")
    if week.power_cut is not None:
        cut = week.power_cut
        told.append(
            f"the service killed and begun again: {cut.n_same:,} of {cut.n_asked:,} mails decided "
            f"the same, {cut.n_lost} events lost"
        )
    if week.care is None:
        return told
    due = [each.model for each in week.care.monitored.dues if each.is_due]
    told.append(f"due for a retrain: {', '.join(due) or 'none'}")
    for model, verdict in week.care.verdicts.items():
        if verdict.passed:
            version = week.care.promoted[model]
            seconds = f"served after {week.swap_s[model]:.1f} s, without a restart"
            told.append(f"{model} {version} passed the gates, {seconds}")
        else:
            gates = ", ".join(gate.name for gate in verdict.gates if not gate.passed)
            told.append(f"{model}: the gates refuse the new one ({gates})")
    return told


def _links(told: Demo) -> Group:
    first = told.scores.before["recipient_key"]
    lines = (
        f"Review the models:  {told.mlflow_url}/#/models",
        f"Try the API:        {told.service_url}/docs",
        f"Look at one:        {told.service_url}/inspect/{first}",
        f"The rendered mail:  {told.mail}",
        f"The weeks, drawn:   {told.picture}",
        "One score:          "
        f'curl -s {told.service_url}/v1/score -d \'{{"recipient_key": "{first}"}}\'',
    )
    return Group(*lines)
