"""The door into the log: labels end the same whatever the order, the batches and the repeats."""

import sqlite3
import tempfile
import threading
from collections import defaultdict
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreUnavailableError
from features.events.actors import OWN, meaning_of, standing
from features.events.database import LOG_NAME, Window
from features.events.esp.adapter import Told, raw_event
from features.events.intake import MAIL, Intake
from features.events.log import EventLog
from features.events.schema import DAY_US, EARLY, SECOND_US, TARGET, Actor, Event, parse_event
from features.events.schema import EventType as E

AT = 1_760_000_000 * SECOND_US
AGENTS = ("", "", "", "Mozilla/5.0", "Barracuda", "Mozilla/5.0 (iPhone) Mobile/15E148 Safari")


@pytest.fixture
def log(tmp_path):
    with EventLog(tmp_path / "events") as opened:
        yield opened


def event(name, kind, seconds, recipient="r", **more):
    at = AT + round(seconds * SECOND_US)
    return Event(str(name), kind, recipient, at, at, **{"message_key": "m", **more})


def click(name, seconds, **more):
    return event(name, E.CLICKED, seconds, url=f"https://x.example/{name}", **more)


def labels(log):
    """The label of every open and click that holds after all corrections, by id."""
    corrections, acted = defaultdict(list), []
    for _, one in log.read(limit=100_000):
        if one.type is E.RELABELLED:
            corrections[one.properties[TARGET]].append(one)
        elif one.type in (E.OPENED, E.CLICKED):
            acted.append(one)
    return {one.event_id: standing(one, corrections[one.event_id]).label for one in acted}


def meanings(log):
    return {event_id: meaning_of(label) for event_id, label in labels(log).items()}


@st.composite
def histories(draw):
    """Events of two people on a grid on which every rule holds now and then."""
    found = []
    for number in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from([E.SENT, E.DELIVERED, E.OPENED, E.CLICKED, E.CLICKED]))
        grid = st.sampled_from([-8 * DAY_US, -7 * DAY_US, -DAY_US, 0, 0, 0])
        step = st.sampled_from([0, 0.4, 1, 4, 6, 10, 11, 29, 31, 60, 170, 181])
        at = AT + draw(grid) + round(draw(step) * SECOND_US)
        links = draw(st.sampled_from([None, None, 3])) if kind in (E.SENT, E.DELIVERED) else None
        found.append(
            Event(
                f"e{number}", kind, draw(st.sampled_from("rrrq")), at,
                at + draw(st.integers(0, 3)) * 100 * SECOND_US,
                message_key=draw(st.sampled_from(["m", "m", "n", "o", ""])),
                send_id=draw(st.sampled_from(["", "s"])),
                url=draw(st.sampled_from(["a", "b", "c", "opportune-honeypot", ""])),
                device=draw(st.sampled_from(AGENTS)),
                actor=draw(st.sampled_from([Actor.HUMAN, Actor.HUMAN, Actor.UNKNOWN])),
                actor_reasons=draw(st.sampled_from([(), (), ("theirs",), ("confirmed",)])),
                properties={} if links is None else {"links": links},
            )
        )  # fmt: skip
    people_say = draw(st.lists(st.sampled_from(found), max_size=2, unique_by=id))
    for number, target in enumerate(people_say):
        found.append(
            Event(
                f"p{number}", E.RELABELLED, target.recipient_key, AT + number, AT + number,
                actor=draw(st.sampled_from(Actor)), properties={TARGET: target.event_id},
            )
        )  # fmt: skip
    return found


@st.composite
def arrivals(draw):
    """A history and the batches in which it arrives: in any order, some events twice."""
    history = draw(histories())
    extra = draw(st.lists(st.sampled_from(history), max_size=4))
    order = draw(st.permutations([*history, *extra]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=6)))
    return history, [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]


@settings(max_examples=200)
@given(arrivals())
def test_labels_end_the_same_in_any_order_and_any_batches(arrival):
    history, batches = arrival
    with tempfile.TemporaryDirectory() as root, EventLog(Path(root)) as log:
        for batch in batches:
            Intake(log).take(batch)
        found, head = meanings(log), log.head()
        for batch in batches:  # and all of it once more
            assert Intake(log).take(batch) == [None] * len(batch)
        assert log.head() == head
    with tempfile.TemporaryDirectory() as root, EventLog(Path(root)) as log:
        Intake(log).take(sorted(history, key=lambda e: (e.occurred_at, e.event_id)))
        assert meanings(log) == found


DELIVERED = event("d", E.DELIVERED, 0)
LINKS = {"properties": {"links": 3}}
WEEK_S = 7 * DAY_US / SECOND_US
EDGES = {
    "open after": [DELIVERED, event("a", E.OPENED, 5)],
    "open ahead": [DELIVERED, event("a", E.OPENED, -30)],
    "click after": [DELIVERED, click("a", 10)],
    "click ahead": [DELIVERED, click("a", -30)],
    "early click": [DELIVERED, click("a", 180)],
    "links": [click("a", 0), click("b", 1), click("c", 10)],
    "opens": [
        event(n, E.OPENED, t, message_key=n) for n, t in (("a", 0), ("b", 0), ("c", 0.999))
    ],
    "all, a week later": [
        event("s", E.SENT, 60 - WEEK_S, **LINKS), click("a", 0), click("b", 30), click("c", 60),
    ],
    "all, ahead": [
        event("s", E.DELIVERED, 30, **LINKS), click("a", 0), click("b", 59), click("c", 60),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_every_rule_holds_at_its_edges_in_every_order_of_arrival(name, tmp_path):
    for number, order in enumerate(permutations(EDGES[name])):
        with EventLog(tmp_path / str(number)) as log:
            for one in order:
                Intake(log).take([one])
            expected = (Actor.HUMAN, True) if name == "early click" else (Actor.MACHINE, False)
            assert set(meanings(log).values()) == {expected}, [one.event_id for one in order]


@settings(max_examples=60)
@given(arrivals())
def test_what_enters_is_what_was_given_but_for_the_label(arrival):
    history, batches = arrival
    with tempfile.TemporaryDirectory() as root, EventLog(Path(root)) as log:
        offsets = [offset for batch in batches for offset in Intake(log).take(batch)]
        stored = dict(log.read(limit=1_000))
    assert sorted(o for o in offsets if o is not None) == sorted(
        offset for offset, one in stored.items() if one.provider != OWN
    )
    by_id = {one.event_id: one for one in stored.values()}
    for one in history:
        kept = by_id[one.event_id]
        names = set(Event._fields) - {"actor", "actor_reasons", "value"}
        assert [getattr(kept, n) for n in names] == [getattr(one, n) for n in names]
        if one.type not in (E.OPENED, E.CLICKED):
            assert (kept.actor, kept.actor_reasons) == (one.actor, one.actor_reasons)


def test_offsets_are_those_of_the_given_events_only(log):
    assert Intake(log).take([click("a", 0), click("b", 1)]) == [1, 2]
    assert Intake(log).take([click("a", 0), click("c", 2), click("d", 3), click("c", 2)]) == [
        None, 3, 4, None,
    ]  # fmt: skip
    assert log.head() == 6
    told = [one for _, one in log.read() if one.type is E.RELABELLED]
    assert {one.properties[TARGET] for one in told} == {"a", "b"}
    assert {one.content_id for one in told} == {""}


def test_a_delivery_that_is_told_late_corrects_what_came_before(log):
    Intake(log).take([click("fast", 8), click("early", 100), event("open", E.OPENED, 3)])
    assert {label.actor for label in labels(log).values()} == {Actor.HUMAN}
    Intake(log).take([event("d", E.DELIVERED, 0)])
    found = labels(log)
    assert found["fast"].actor is found["open"].actor is Actor.MACHINE
    assert found["early"] == (Actor.HUMAN, (EARLY,))


def test_a_provider_s_metadata_may_say_how_many_links_a_mail_has(log):
    def told(kind, name, at, **more):
        keys = {"recipient_key": "r", "message_key": "m"}
        one = Told(kind, name, at, metadata={**keys, **more.pop("metadata", {})}, **more)
        return parse_event(raw_event(one, "postmark", "secret"), received_at=AT * 2)

    begin = AT // SECOND_US
    times = {f"c{n}": begin + 900 + 14 * n for n in range(4)}
    clicks = [told(E.CLICKED, name, at, url=f"https://x/{name}") for name, at in times.items()]
    Intake(log).take([told(E.DELIVERED, "d", begin, metadata={"links": "4"}), *clicks])
    assert {label.reasons for label in labels(log).values()} == {("every_link",)}


def test_events_that_cannot_change_a_label_cost_no_look_around(log, monkeypatch):
    others = [event(kind, kind, 0) for kind in E if kind not in MAIL]
    monkeypatch.setattr("features.events.database.around", None)
    assert Intake(log).take([*others, event("s", E.SENT, 0)]) == list(range(1, len(others) + 2))


def test_writers_that_see_a_burst_in_parts_label_all_of_it(tmp_path):
    start = threading.Barrier(8)
    failures = []

    def run(number):
        try:
            with EventLog(tmp_path) as own:
                start.wait()
                for round_ in range(6):
                    one = click(f"{round_}-{number}", 1_000 * round_ + number / 10)
                    Intake(own).take([one])
        except Exception as error:  # noqa: BLE001  shown below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with EventLog(tmp_path) as log:
        found = labels(log)
        ids = [one.event_id for _, one in log.read(limit=1_000)]
    assert len(found) == 48
    assert {label.actor for label in found.values()} == {Actor.MACHINE}
    assert len(ids) == len(set(ids))


def test_nothing_is_stored_where_a_correction_cannot_be(log, monkeypatch):
    Intake(log).take([click("a", 0), click("b", 1)])

    def broken(fresh, known):
        assert [one.event_id for one in known] == ["a", "b"]
        yield from fresh
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("features.events.intake.labelled", broken)
    with pytest.raises(StoreUnavailableError):
        Intake(log).take([click("c", 2)])
    assert log.head() == 2


def test_around_gives_what_lies_in_the_windows_once_and_the_corrections(log):
    kinds = (E.CLICKED, E.DELIVERED)
    stored = [
        event("d", E.DELIVERED, 0), click("a", 10), click("b", 20), event("o", E.OPENED, 10),
        click("other", 10, recipient="q"), event("v", E.PAGE_VIEWED, 10),
        event("rel", E.RELABELLED, 9_999, properties={TARGET: "a"}),
        event("rel-other", E.RELABELLED, 0, recipient="q", properties={TARGET: "other"}),
    ]  # fmt: skip
    assert log.around([Window("r", AT, AT, kinds)]) == []  # no log yet
    log.append(stored)

    def ids(*windows):
        return [one.event_id for one in log.around(windows)]

    first, last = AT + 10 * SECOND_US, AT + 20 * SECOND_US
    assert ids(Window("r", first, last, kinds)) == ["a", "b", "rel"]
    assert ids(Window("r", first + 1, last - 1, kinds)) == ["rel"]
    assert ids(Window("r", AT, first, kinds), Window("r", AT, last, kinds)) == [
        "d",
        "a",
        "b",
        "rel",
    ]
    assert ids(Window("r", AT, last, (E.OPENED,)), Window("q", AT, last, kinds)) == [
        "o", "other", "rel", "rel-other",
    ]  # fmt: skip
    assert ids(Window("nobody", AT, last, kinds)) == []
    assert ids() == []
    assert log.around([Window("r", AT, AT, kinds)])[0].message_key == "m"


def test_a_log_of_an_earlier_program_is_read_and_gets_its_index(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([click("a", 0), event("rel", E.RELABELLED, 5, properties={TARGET: "a"})])
    with sqlite3.connect(tmp_path / LOG_NAME) as connection:
        connection.execute("DROP INDEX relabels_of_recipient")
    connection.close()
    windows = [Window("r", AT, AT, (E.CLICKED,))]
    with EventLog(tmp_path) as log:
        assert [one.event_id for one in log.around(windows)] == ["a", "rel"]
        Intake(log).take([click("b", 1)])
    with sqlite3.connect(tmp_path / LOG_NAME) as connection:
        names = {row[1] for row in connection.execute("PRAGMA index_list(events)")}
    connection.close()
    assert "relabels_of_recipient" in names


def test_a_recipient_with_ten_thousand_clicks_does_not_stop_the_intake(log):
    many = [click(n % 50, n / 1_000, message_key=f"m{n}") for n in range(10_000)]
    many = [Event(**{**{k: getattr(e, k) for k in Event._fields}, "event_id": f"c{n}"})
            for n, e in enumerate(many)]  # fmt: skip
    Intake(log).take(many)
    assert {label.actor for label in labels(log).values()} == {Actor.MACHINE}
