"""The demo's last scenes: some people are scored, one of them clicks, and a mail is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import orjson
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from features.errors import StoreUnavailableError
from features.events.schema import SECOND_US

N_CANDIDATES: Final = 6
TEMPLATE: Final = "demo_mail.html.j2"

Answer = dict[str, Any]


@dataclass(slots=True)
class Scores:
    """Answers of the service: of some people, and of one before and after five clicks."""

    answers: list[Answer] = field(default_factory=list)
    before: Answer = field(default_factory=dict)
    after: Answer = field(default_factory=dict)
    clicked_item: str = ""
    clicked_topic: str = ""


def scored(url: str, events: pl.DataFrame, now: int) -> Scores:
    """A few people and a stranger; then one clicks, and the next score knows.

    Args:
        now: Microseconds.
    """
    told, items = Scores(), _items(events)
    asked = [{"content_id": item, "topics": topics} for item, topics in items.items()]
    dry = {"explore": False}  # nothing is sent: the story is told of the models' own choice
    for key in [*_people(events), "somebody-new"]:
        body = {"recipient_key": key, "send_id": "demo-send", "candidates": asked, **dry}
        told.answers.append(_post(url, "/v1/score", body))
    chosen = told.answers[0]
    last = chosen["content"]["ranking"][-1]["content_id"]
    told.before, told.clicked_item, told.clicked_topic = chosen, last, ", ".join(items[last])
    clicks = [
        {
            "event_id": f"demo-click-{i}",
            "type": "clicked",
            "recipient_key": chosen["recipient_key"],
            "occurred_at": now / SECOND_US - 60 * i,
            "content_id": last,
            "topics": items[last],
        }
        for i in range(5)
    ]
    _post(url, "/v1/events", {"events": clicks})
    key = chosen["recipient_key"]
    body = {"recipient_key": key, "send_id": "demo-send", "candidates": asked, **dry}
    told.after = _post(url, "/v1/score", body)
    return told


def rendered(answer: Answer, events: pl.DataFrame, file: Path) -> Path:
    """A mail with what is to be shown, written to a file."""
    loader = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    titles = {item: " and ".join(topics).title() for item, topics in _items(events).items()}
    best = titles[answer["content"]["variant"]]
    page = pages.get_template(TEMPLATE).render(
        score=answer, titles=titles, headline=f"{best}, picked for you"
    )
    file.write_text(page)
    return file


def _items(events: pl.DataFrame) -> dict[str, list[str]]:
    """The newest items of the world with their topics."""
    newest = (
        events.filter(pl.col("content_id") != "")
        .group_by("content_id")
        .agg(pl.col("topics").first(), pl.col("occurred_at").min().alias("since"))
        .sort("since", "content_id", descending=True)
        .head(N_CANDIDATES)
    )
    return {item: list(topics) for item, topics, _ in newest.iter_rows()}


def _people(events: pl.DataFrame) -> list[str]:
    """Four recipients: the liveliest, two in between, one long silent."""
    humans = events.filter(
        pl.col("type").is_in(["page_viewed", "purchased"])  # no scanner gets as far as the site
    )
    ranked = (
        humans.group_by("recipient_key")
        .agg(pl.len().alias("n"), pl.col("occurred_at").max().alias("last"))
        .sort("n", "recipient_key", descending=True)
    )
    keys = ranked["recipient_key"].to_list()
    silent = ranked.sort("last")["recipient_key"][0]
    chosen = [keys[0], keys[len(keys) // 4], keys[len(keys) // 2], silent]
    return list(dict.fromkeys(chosen))


def _post(url: str, path: str, body: Mapping[str, Any]) -> Answer:
    request = Request(  # noqa: S310  a loopback address of ours
        url + path,
        orjson.dumps(body),
        {"content-type": "application/json"},
    )
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            parsed: Answer = orjson.loads(answer.read())
            return parsed
    except OSError as error:
        remedy = "see service.log in the demo's data directory"
        raise StoreUnavailableError(url, str(error), remedy) from error
