"""Makes docs/actors.md from events of which it is known who acted: what the rules get right.

Run: python -m features.events.actors_document tests/data/actors > docs/actors.md
"""

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from features.events.actors import LABELLED, ActorReason
from features.events.intake import labelled
from features.events.schema import Actor, Event, parse_event

_HEAD: Final = """\
# Who acted

Made by `python -m features.events.actors_document`; a test keeps it true. Each number counts
events of `tests/data/actors`: {n_events} opens and clicks in {n_scenarios} scenarios, written down
by hand after the agents and habits that providers document and users report. The hard cases are in
it on purpose, so these are not rates of any real mail: they show which rule catches what, and what
it costs.

How a label comes about and how to correct one: [events](events.md#who-acted).
"""
_RULES: Final = {
    ActorReason.AGENT_PRIVACY_PROXY: "an open by Apple's privacy proxy: a bare `Mozilla/5.0`",
    ActorReason.AGENT_IMAGE_PROXY: "an open through Gmail's or Yahoo's image proxy",
    ActorReason.AGENT_SCANNER: "the agent is a known crawler, gateway, library or headless browser",
    ActorReason.OPENED_AT_ONCE: "opened at most 5 s after (or 30 s before) `delivered`",
    ActorReason.CLICKED_AT_ONCE: "clicked at most 10 s after (or 30 s before) `delivered`",
    ActorReason.EARLY: "clicked at most 180 s after `delivered`: stays human, but doubtful",
    ActorReason.LINK_BURST: "one of three different links of a recipient within 10 s",
    ActorReason.OPEN_BURST: "one of three different mails of a recipient within one second",
    ActorReason.EVERY_LINK: "one of all links of a mail (`properties.links` of its `sent` or "
    "`delivered`, three or more) within 60 s",
    ActorReason.HONEYPOT: "a link with `opportune-honeypot` in its address, or "
    "`properties.honeypot`",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """One open or click: who really made it, and the label it ends with."""

    scenario: str
    true: Actor
    event: Event


def judged(folder: Path) -> list[Judged]:
    """Label the events of every file; the lines of a file are `scenario`, `true` and `event`."""
    told = [
        orjson.loads(line)
        for file in sorted(folder.glob("*.ndjson"))
        for line in file.read_bytes().splitlines()
    ]
    about = {line["event"]["event_id"]: line for line in told}
    at = round(max(line["event"]["occurred_at"] for line in told) * 1e6)
    events = [parse_event(line["event"], received_at=at) for line in told]
    return [
        Judged(about[e.event_id]["scenario"], Actor(about[e.event_id]["true"]), e)
        for e in labelled(events, ())
        if e.type in LABELLED
    ]


def page(folder: Path) -> str:
    """The page as Markdown."""
    found = judged(folder)
    head = _HEAD.format(n_events=len(found), n_scenarios=len({one.scenario for one in found}))
    return "".join((head, *_confusion(found), *_by_rule(found), *_mistakes(found)))


def _confusion(found: Iterable[Judged]) -> list[str]:
    counts = Counter((o.event.type.value, o.true, _shown(o.event)) for o in found)
    columns = ("human", "human, early", "unknown", "machine")
    lines = ["\n## True by labelled\n\n", f"| | {' | '.join(columns)} |\n", "| --- |"]
    lines += [" ---: |" * len(columns), "\n"]
    for kind in ("opened", "clicked"):
        for true in (Actor.HUMAN, Actor.MACHINE):
            cells = [str(counts[kind, true, column]) for column in columns]
            lines.append(f"| {kind} by a {true.value} | {' | '.join(cells)} |\n")
    return lines


def _by_rule(found: Iterable[Judged]) -> list[str]:
    lines = ["\n## Rules\n\n", "| reason | holds for | label | events | of machines |\n"]
    lines.append("| --- | --- | --- | ---: | ---: |\n")
    pairs = [(reason, one) for one in found for reason in one.event.actor_reasons]
    for reason, meaning in _RULES.items():
        of = [one for name, one in pairs if name == reason]
        n_machine = sum(one.true is Actor.MACHINE for one in of)
        is_proxy = reason in (ActorReason.AGENT_PRIVACY_PROXY, ActorReason.AGENT_IMAGE_PROXY)
        label = "unknown" if is_proxy else "human" if reason is ActorReason.EARLY else "machine"
        lines.append(f"| `{reason.value}` | {meaning} | {label} | {len(of)} | {n_machine} |\n")
    return lines


def _mistakes(found: Iterable[Judged]) -> list[str]:
    wrong = Counter(
        (o.scenario, o.event.type.value, o.true.value, _shown(o.event))
        for o in found
        if o.event.actor is not Actor.UNKNOWN and o.event.actor is not o.true
    )
    lines = ["\n## What is labelled wrong\n\n", "| scenario | event | true | labelled | events |\n"]
    lines.append("| --- | --- | --- | --- | ---: |\n")
    for (scenario, *cells), n in sorted(wrong.items()):
        lines.append(f"| {scenario.replace('_', ' ')} | {' | '.join(cells)} | {n} |\n")
    return lines


def _shown(event: Event) -> str:
    is_early = event.actor is Actor.HUMAN and ActorReason.EARLY in event.actor_reasons
    return "human, early" if is_early else event.actor.value


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1])))
