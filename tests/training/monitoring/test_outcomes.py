"""A decision and what became of its mail: joined by send and recipient, at maturity, once."""

import polars as pl
import pytest

from features.decisions import SCHEMA
from features.events.database import COLUMNS
from features.events.schema import DAY_US, HOUR_US, Actor, Event, EventType
from training.monitoring.outcomes import decisions_once, outcomes

NOW = 20_400 * DAY_US
SENT = NOW - 20 * DAY_US


def log(*events):
    rows = [
        event._asdict()
        | {
            "event_id": f"e{number}",
            "type": event.type.value,
            "actor": event.actor.value,
            "actor_reasons": "[]",
            "topics": [],
            "properties": "{}",
        }
        for number, event in enumerate(events)
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None).select(COLUMNS)
    return frame.with_row_index("offset", 1).with_columns(pl.col("offset").cast(pl.Int64)).lazy()


def event(kind, after_h=0.0, *, key="a", send="s", item="", actor=Actor.HUMAN, at=SENT):
    moment = at + round(after_h * HOUR_US)
    return Event(
        "", EventType(kind), key, moment, moment, send_id=send, content_id=item, actor=actor,
        message_key=f"{send}-{key}",
    )  # fmt: skip


def decided(*changes):
    plain = {
        "decision_id": "d", "recipient_key": "a", "send_id": "s", "slot": "", "at": SENT - HOUR_US,
        "best_at": SENT // 1_000_000, "arm": "personal", "variant": "x", "is_test": False,
    }  # fmt: skip
    rows = [plain | {"decision_id": f"d{i}"} | change for i, change in enumerate(changes or [{}])]
    return pl.DataFrame(rows, schema={n: SCHEMA[n] for n in plain}).lazy()


def joined(events, *changes, as_of=NOW):
    known = log(*events, event("delivered", key="nobody"))
    return outcomes(decisions_once(decided(*changes), known, as_of=as_of), known, as_of=as_of)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([("delivered", 0)], {"delivered"}),
        ([("bounced", 0)], {"bounced"}),
        ([("delivered", 0), ("opened", 23)], {"delivered", "engaged"}),
        ([("delivered", 0), ("opened", 25)], {"delivered"}),
        ([("delivered", 0), ("clicked", 2)], {"delivered", "engaged", "clicked"}),
        ([("delivered", 0), ("clicked", 100)], {"delivered", "clicked"}),
        ([("delivered", 0), ("clicked", 200)], {"delivered"}),
        ([("delivered", 0), ("unsubscribed", 30)], {"delivered", "unsubscribed"}),
        ([("delivered", 0), ("complained", 1)], {"delivered", "complained"}),
        ([], set()),
    ],
)
def test_each_outcome_is_told_within_its_own_time(events, told):
    other = event("clicked", 1, key="b")  # somebody else's
    rows = joined([*(event(kind, h) for kind, h in events), other]).rows
    names = ("delivered", "bounced", "engaged", "clicked", "unsubscribed", "complained")
    assert {name for name in names if rows[name].item()} == told


def test_machines_engage_nobody_and_void_the_opens_beside_them():
    found = joined(
        [event("delivered"), event("opened", 1, actor=Actor.MACHINE), event("opened", 2)]
    )
    assert not found.rows["engaged"].item()
    scanner = joined([event("delivered"), event("clicked", 0.1, actor=Actor.MACHINE)])
    assert not scanner.rows["clicked"].item()


def test_a_click_counts_for_the_slot_whose_item_it_names():
    events = [event("delivered"), event("clicked", 1, item="x")]
    slots = ({"slot": "top", "variant": "x"}, {"slot": "foot", "variant": "y"})
    rows = joined(events, *slots).rows.sort("slot")
    assert rows["clicked"].to_list() == [False, True]
    assert rows["engaged"].to_list() == [True, True]


def test_another_send_and_an_opt_out_without_one():
    events = [
        event("delivered"), event("delivered", 1, send="t"), event("clicked", 2, send="t"),
        event("unsubscribed", 3, send=""),
    ]  # fmt: skip
    rows = joined(events).rows
    assert not rows["engaged"].item()
    assert rows["unsubscribed"].item()


@pytest.mark.parametrize(
    ("as_of_h", "is_mature", "is_settled"),
    [(29, False, None), (31, True, False), (8 * 24 + 1, True, True)],
)
def test_a_decision_whose_label_is_open_is_left_out_and_counted(as_of_h, is_mature, is_settled):
    found = joined([event("delivered")], as_of=SENT + as_of_h * HOUR_US)
    assert found.immature == (not is_mature)
    assert found.rows["is_settled"].to_list() == ([is_settled] if is_mature else [])


def test_a_mail_that_never_left_matures_three_days_after_its_hour():
    assert joined([], as_of=SENT + 71 * HOUR_US).immature == 1
    assert len(joined([], as_of=SENT + 73 * HOUR_US).rows) == 1


def test_repeats_tests_and_what_has_no_send_are_told_apart():
    found = joined(
        [event("delivered")],
        {"decision_id": "d"}, {"decision_id": "d", "at": SENT}, {"is_test": True}, {"send_id": ""},
    )  # fmt: skip
    assert (found.decided, found.unnamed, len(found.rows)) == (2, 1, 1)
    assert found.rows["at"].item() == SENT - HOUR_US


PLANNED = {"decision_id": "d", "variant": "", "at": SENT - 9 * HOUR_US}
RENDERED = {"decision_id": "d", "variant": "x", "at": SENT - HOUR_US}
RENEWED = {"decision_id": "d", "variant": "y", "at": SENT - HOUR_US // 2}
VIEWED = {"decision_id": "d", "variant": "z", "at": SENT + 2 * DAY_US}


@pytest.mark.parametrize(
    ("lines", "item"),
    [
        ([PLANNED], ""),
        ([PLANNED, RENDERED], "x"),
        ([RENDERED, PLANNED | {"at": SENT}], "x"),  # asked again, for its hour alone
        ([RENDERED, RENEWED], "y"),
        ([RENDERED, RENEWED, VIEWED], "y"),  # long after the mail was there
        ([PLANNED, VIEWED, VIEWED | {"variant": "later", "at": SENT + 3 * DAY_US}], "z"),
    ],
)
def test_the_item_that_counts_is_the_one_that_the_mail_had(lines, item):
    found = joined([event("delivered"), event("clicked", 1, item=item)], *lines[::-1])
    assert found.decided == 1
    assert found.rows["variant"].to_list() == [item]
    assert found.rows["clicked"].item()


def test_a_decision_told_many_times_keeps_the_moment_at_which_it_was_made():
    again = [RENDERED | {"at": RENDERED["at"] + minute * 60_000_000} for minute in range(5)]
    assert joined([event("delivered")], *again[::-1]).rows["at"].to_list() == [RENDERED["at"]]
