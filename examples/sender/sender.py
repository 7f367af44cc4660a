"""A sender beside the service: plan a campaign, render it, send it, tell what came of it.

It knows recipients and items from a log of events, as a shop knows them from its database. Mails
are written to files instead of sent, and whether one is opened is drawn, with the chance that the
service gave; everything else is as it would be.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console
from rich.table import Table

from serving.client import Answer, Client
from serving.client.templates import candidates_of, personal
from serving.errors import EventsNotStoredError

OUR_HOUR = 9  # when this sender would mail everybody, in UTC
N_ITEMS = 6
PLANS_S = 5.0  # who plans can wait longer than who renders


def main() -> None:
    """Plan, render, send, report."""
    told = arguments()
    now = datetime.fromtimestamp(time.time_ns() / 1e9, UTC)
    recipients, items = read(told.log)
    with Client(told.url, key=told.key, timeout_s=PLANS_S) as client:
        answers = plan(client, recipients, items, send_id=told.send_id, now=now)
        due = [answer for answer in answers if not answer.hold.hold_back]
        write(due, items, told.outbox)
        events = list(outcomes(due, now=now))
        try:
            stored = client.send_events(events)
            fate = f"{stored.accepted} stored, {stored.duplicate} already there"
        except EventsNotStoredError as error:
            kept = told.outbox / "events.json"
            kept.write_text(json.dumps(events))
            fate = f"kept in {kept.name}: {error.problem}"
    Console().print(table_of(answers, fate))


def read(log: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Everybody in a log, and its newest items with topics and something to show."""
    recipients, items = set(), {}
    with log.open() as lines:
        for event in map(json.loads, lines):
            recipients.add(event["recipient_key"])
            if event.get("content_id"):
                items[event["content_id"]] = event.get("topics") or []
    newest = list(items.items())[-N_ITEMS:]
    shown = [{"content_id": i, "topics": t, "title": i.replace("-", " ")} for i, t in newest]
    return sorted(recipients), shown


def plan(
    client: Client,
    recipients: list[str],
    items: list[dict[str, Any]],
    *,
    send_id: str,
    now: datetime,
) -> list[Answer]:
    """One call for each thousand recipients; nobody at night, no hour with half of all mails."""
    ours = now.replace(hour=OUR_HOUR, minute=0, second=0, microsecond=0)
    ours += timedelta(days=1) if ours <= now else timedelta()
    shared = {
        "send_id": send_id,
        "default_at": ours,
        "window_from": now,
        "window_to": now + timedelta(days=1),
        "candidates": candidates_of(items),
        "rules": {"quiet_hours": {"start": "22:00", "end": "07:00"}},
    }
    asks = [{"recipient_key": key, **shared} for key in recipients]
    return client.score_batch(asks, throttle={"per_hour": len(asks) // 2 + 1})


def write(answers: list[Answer], items: list[dict[str, Any]], outbox: Path) -> None:
    """One file for each mail, by its decision, which is the same in a second run."""
    outbox.mkdir(parents=True, exist_ok=True)
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("mail.html.j2")
    for answer in answers:
        mail = EmailMessage()
        mail["To"] = f"{answer.recipient_key}@mail.example"  # the sender's own address book
        mail["Subject"] = "New this week"
        mail["X-Send-At"] = answer.send_time.best_at
        mail["X-Decision"] = answer.decision_id
        shown = personal(answer, items)
        mail.set_content(
            template.render(name=answer.recipient_key, p=shown), subtype="html", cte="8bit"
        )
        (outbox / f"{answer.decision_id}.eml").write_bytes(bytes(mail))


def outcomes(answers: list[Answer], *, now: datetime) -> Iterator[dict[str, Any]]:
    """What a provider would tell: every mail delivered, some opened and clicked, drawn by mail.

    A real sender waits for `best_at`; here the day is over at once.
    """
    for answer in answers:
        about = {
            "recipient_key": answer.recipient_key,
            "send_id": answer.send_id,
            "message_key": answer.decision_id,
            "content_id": answer.content.variant,
            "occurred_at": now.isoformat(),
        }
        drawn = random.Random(answer.decision_id).random()  # noqa: S311  a simulation
        happened = ["delivered"]
        happened += ["opened"] if drawn < 3 * answer.send_time.p_engage else []
        happened += ["clicked"] if drawn < answer.send_time.p_engage else []
        for kind in happened:
            yield {"event_id": f"{answer.decision_id}-{kind}", "type": kind, **about}


def table_of(answers: list[Answer], fate: str) -> Table:
    """What was planned and what became of it."""
    hours = [answer.send_time for answer in answers]
    count = max(len(answers), 1)
    moved = sum(hour.best_at_epoch != hour.default_at_epoch for hour in hours)
    best, ours = (
        sum(getattr(hour, name) for hour in hours) / count
        for name in ("p_engage", "p_engage_default")
    )
    first = Counter(answer.content.variant for answer in answers)
    why = Counter(answer.fallback.reason for answer in answers)
    table = Table(title="The campaign", title_justify="left", show_header=False)
    table.add_row("recipients", str(len(answers)))
    table.add_row("held back", str(sum(answer.hold.hold_back for answer in answers)))
    table.add_row("at another hour than ours", f"{moved / count:.0%}")
    table.add_row("p_engage, then and at ours", f"{best:.3f}  {ours:.3f}")
    table.add_row("first items", "  ".join(f"{item} {n}" for item, n in first.most_common(3)))
    table.add_row("whose word", "  ".join(f"{reason} {n}" for reason, n in why.most_common()))
    table.add_row("events", fate)
    return table


def arguments() -> argparse.Namespace:
    """What the command line tells."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the service is")
    parser.add_argument("--key", default="", help="an API key with the scopes score and events")
    parser.add_argument("--log", type=Path, required=True, help="events as newline-delimited JSON")
    parser.add_argument("--outbox", type=Path, default=Path("outbox"), help="where mails go")
    parser.add_argument("--send-id", default="spring-24", help="the mailing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
