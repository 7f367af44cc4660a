"""Labels are made of what people surely did, under the labels that hold today."""

import pytest

from features.events.log import EventLog
from features.events.schema import DAY_US, EARLY, Actor, Event, EventType
from training import labels
from training.evidence import human

AT = 1_700_000_000_000_000


def event(name: str, kind: EventType, who: str, day: int, **more: object) -> Event:
    at = AT + day * DAY_US
    return Event(name, kind, who, at, at, message_key=f"m {who}", **more)  # type: ignore[arg-type]


def label(name: str, target: str, who: str, day: int, actor: Actor) -> Event:
    told = {"event_id": target}
    return event(name, EventType.RELABELLED, who, day, actor=actor, properties=told)


@pytest.fixture
def log(tmp_path):
    with EventLog(tmp_path / "log") as log:
        yield log


def told(log: EventLog) -> list[str]:
    return sorted(human(log.scan()).collect()["event_id"].to_list())


def test_one_machine_open_of_a_person_voids_all_of_them_and_no_click(log):
    log.append([
        event("a open", EventType.OPENED, "ann", 0),
        event("a machine", EventType.OPENED, "ann", 300, actor=Actor.UNKNOWN),
        event("a click", EventType.CLICKED, "ann", 1, actor_reasons=(EARLY,)),
        event("b open", EventType.OPENED, "bob", 0),
    ])  # fmt: skip
    assert told(log) == ["a click", "b open"]
    assert labels.engagements(log.scan())["recipient_key"].to_list() == ["ann", "bob"]


def test_a_scanner_voids_quick_clicks_of_its_recipient_only(log):
    log.append([
        event("a quick", EventType.CLICKED, "ann", 0, actor_reasons=("agent", EARLY)),
        event("a slow", EventType.CLICKED, "ann", 1),
        event("a scan", EventType.CLICKED, "ann", 2, actor=Actor.MACHINE),
        event("b quick", EventType.CLICKED, "bob", 0, actor_reasons=(EARLY,)),
    ])  # fmt: skip
    assert told(log) == ["a slow", "b quick"]


def test_the_newest_label_holds_and_what_is_erased_is_no_label(log):
    log.append([
        event("a", EventType.CLICKED, "ann", 0),
        event("b", EventType.CLICKED, "bob", 0),
        event("c", EventType.CLICKED, "cat", 0, actor=Actor.MACHINE),
        label("1", "a", "ann", 1, Actor.MACHINE),
        label("2", "c", "cat", 1, Actor.MACHINE),
        label("3", "c", "cat", 2, Actor.HUMAN),
        event("4", EventType.ERASED, "bob", 1),
    ])  # fmt: skip
    assert [name for name in told(log) if name in "abc"] == ["c"]
    assert labels.engagements(log.scan())["recipient_key"].to_list() == ["cat"]


def test_a_mail_whose_reading_is_hidden_is_neither_engaged_nor_ignored(log):
    log.append([
        event("s1", EventType.DELIVERED, "ann", 0),
        event("o1", EventType.OPENED, "ann", 0, actor=Actor.UNKNOWN),
        event("s2", EventType.DELIVERED, "bob", 0),
        event("o2", EventType.OPENED, "bob", 0),
        event("s3", EventType.DELIVERED, "cat", 0),
    ])  # fmt: skip
    found = labels.mails_engaged(log.scan(), window_us=DAY_US)
    assert dict(found.select("recipient_key", "y").iter_rows()) == {"bob": 1.0, "cat": 0.0}
