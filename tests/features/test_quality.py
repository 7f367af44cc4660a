"""What the check of the log promises: a sound log has no findings, each fault has its own."""

import numpy as np
import pytest

from features.events.log import EventLog
from features.events.schema import DAY_US, SECOND_US, Actor, Event, EventType
from features.quality import Severity, quality

NOW = 1_780_000_000 * SECOND_US // DAY_US * DAY_US
TYPES = (EventType.DELIVERED, EventType.OPENED, EventType.CLICKED)


def month(*, per_day: int = 60, days: int = 28) -> list[Event]:
    """A provider that sends the same every day: each mail delivered, opened and clicked later."""
    rng = np.random.default_rng(3)
    events = []
    for day in range(days):
        for mail in range(per_day):
            sent = NOW - (days - day) * DAY_US + int(rng.integers(DAY_US // 2))
            for place, kind in enumerate(TYPES):
                events.append(
                    Event(
                        event_id=f"{day}-{mail}-{kind.value}",
                        type=kind,
                        recipient_key=f"r{mail}",
                        occurred_at=sent + place * 600 * SECOND_US,
                        received_at=sent + place * 600 * SECOND_US,
                        message_key=f"m{day}-{mail}",
                        utc_offset_min=60,
                        provider="sendgrid",
                    )
                )
    return events


def findings(events: list[Event], tmp_path, as_of: int = NOW):
    with EventLog(tmp_path / "log") as log:
        log.append(events)
        return quality(log.scan(as_of=as_of), as_of=as_of)


def test_a_sound_log_has_no_findings_and_counts_every_source(tmp_path):
    found = findings(month(), tmp_path)
    assert found.findings == []
    assert not found.has_alarm
    counts = {kind: n for _, kind, n, *_ in found.sources.iter_rows()}
    assert counts == dict.fromkeys((kind.value for kind in TYPES), 28 * 60)


def test_an_empty_log_has_neither_sources_nor_findings(tmp_path):
    found = findings([], tmp_path)
    assert found.sources.is_empty()
    assert found.findings == []


def changed(name: str, events: list[Event]) -> list[Event]:  # noqa: PLR0911 - one a fault
    """A sound month with one fault."""
    last = NOW - DAY_US
    match name:
        case "silent":
            return [e for e in events if e.received_at < NOW - 3 * DAY_US]
        case "volume":
            kept = [e for e in events if e.received_at < last]
            return kept + [e for e in events if e.received_at >= last][:20]
        case "unnamed":
            return [e._replace(message_key="") for e in events]
        case "clock":
            return [e._replace(utc_offset_min=None) for e in events]
        case "clickless":
            return [e for e in events if e.type is not EventType.CLICKED]
        case "shared key":
            many = [e._replace(event_id=f"x{i}", recipient_key="all") for i, e in enumerate(
                [e for e in events if e.type is EventType.OPENED][:1] * 1_200)]  # fmt: skip
            return events + many
        case "scanners":
            return [
                e._replace(occurred_at=e.occurred_at - 1_199 * SECOND_US)
                if e.type is EventType.CLICKED
                else e
                for e in events
            ]
    raise ValueError(name)


@pytest.mark.parametrize(
    ("fault", "where", "severity"),
    [
        ("silent", "sendgrid", Severity.ALARM),
        ("volume", "sendgrid", Severity.ALARM),
        ("unnamed", "mail", Severity.NOTICE),
        ("clock", "clock", Severity.NOTICE),
        ("clickless", "mail", Severity.ALARM),
        ("shared key", "recipients", Severity.NOTICE),
        ("scanners", "clicks", Severity.NOTICE),
    ],
)
def test_each_fault_has_its_finding_with_a_remedy_and_no_other(fault, where, severity, tmp_path):
    found = findings(changed(fault, month()), tmp_path)
    assert [(f.where, f.severity) for f in found.findings] == [(where, severity)]
    assert len(found.findings[0].remedy) > 20


@pytest.mark.parametrize("hour", [0, 12])
def test_a_source_is_silent_from_the_third_day_until_nobody_remembers_it(hour, tmp_path):
    """However long the window: also when nothing of the source is in it any more."""
    told = month()
    newest = max(event.received_at for event in told) // DAY_US
    with EventLog(tmp_path / "log") as log:
        log.append(told)
        for days in (0, 1, 2, 3, 26, 27, 28, 29, 60, 91, 92, 400):
            as_of = (newest + 1 + days) * DAY_US + hour * 3_600 * SECOND_US
            alarms = quality(log.scan(as_of=as_of), as_of=as_of).findings
            silent = [one.where for one in alarms if f"no event for {days} whole" in one.what]
            assert silent == ["sendgrid"] * (2 <= days <= 91), days


def test_machine_clicks_are_no_scanner_finding_because_they_are_labelled(tmp_path):
    labelled = [
        e._replace(actor=Actor.MACHINE) if e.type is EventType.CLICKED else e
        for e in changed("scanners", month())
    ]
    assert [f.where for f in findings(labelled, tmp_path).findings] == []
