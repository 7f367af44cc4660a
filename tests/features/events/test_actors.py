"""Labels: what each rule says of the edge cases, and what all rules say of the known scenarios."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events.actor_rules import AHEAD_US, findings, links_of
from features.events.actors import (
    OWN,
    ActorReason,
    Label,
    Standing,
    corrected,
    raised,
    relabelled,
    standing,
)
from features.events.actors_document import judged, page
from features.events.agents import Agent, agent_of
from features.events.devices import device_class
from features.events.intake import labelled
from features.events.schema import EARLY, SECOND_US, Actor, Event
from features.events.schema import EventType as E
from tests.features.events import actor_scenarios as known

REPOSITORY = Path(__file__).parents[3]
AT = 1_760_000_000 * SECOND_US
HEIGHT = {Actor.HUMAN: 0, Actor.UNKNOWN: 1, Actor.MACHINE: 2}
LABELS = st.builds(
    Label,
    st.sampled_from(Actor),
    st.lists(st.sampled_from([*ActorReason, "theirs", "sg_machine_open"]), unique=True).map(tuple),
)
REASONS = st.lists(st.sampled_from([r for r in ActorReason if r is not ActorReason.CONFIRMED]))


def event(name, kind, seconds, **more):
    at = AT + round(seconds * SECOND_US)
    return Event(name, kind, "r", at, at, **{"message_key": "m", **more})


def reasons(*events):
    """The reasons found for each event, by its id."""
    found = {}
    for finding in findings(events):
        found.setdefault(finding.event_id, set()).add(finding.reason.value)
    return found


def test_the_page_and_the_fixtures_are_the_generated_ones():
    assert (REPOSITORY / "docs/actors.md").read_text() == page(known.FOLDER)
    for name in known.FILES:
        assert (known.FOLDER / f"{name}.ndjson").read_text() == known.text_of(name)
    assert {file.stem for file in known.FOLDER.glob("*.ndjson")} == set(known.FILES)


def test_the_page_explains_every_reason():
    text = (REPOSITORY / "docs/actors.md").read_text() + (REPOSITORY / "docs/events.md").read_text()
    assert [reason for reason in ActorReason if f"`{reason.value}`" not in text] == []


def test_every_machine_that_says_or_shows_it_is_caught():
    """The floor under the page: these must stay right whatever else changes."""
    found = judged(known.FOLDER)
    sure = {
        "says_its_name", "follows_every_link_at_once", "flagged_by_mailgun",
        "fetches_a_whole_mailbox", "scanner_unsubscribes",
    }  # fmt: skip
    assert {o.scenario for o in found} >= sure
    assert {o.scenario for o in found if o.scenario in sure and o.event.actor != "machine"} == set()
    kept = {"reads_and_clicks", "clicks_fast", "double_click", "vouched_for_by_the_sender"}
    assert {o.scenario for o in found if o.scenario in kept and o.event.actor != "human"} == set()


@pytest.mark.parametrize(
    ("kind", "seconds", "expected"),
    [
        (E.OPENED, 5, {"opened_within_5s"}),
        (E.OPENED, 5.001, set()),
        (E.CLICKED, 10, {"clicked_within_10s"}),
        (E.CLICKED, 10.001, {EARLY}),
        (E.CLICKED, 180, {EARLY}),
        (E.CLICKED, 180.001, set()),
        (E.CLICKED, -30, {"clicked_within_10s"}),
        (E.CLICKED, -30.001, set()),
        (E.OPENED, -30, {"opened_within_5s"}),
    ],
)
def test_haste_is_counted_from_delivered_and_never_from_sent(kind, seconds, expected):
    acted = event("a", kind, seconds)
    assert reasons(event("d", E.DELIVERED, 0), acted).get("a", set()) == expected
    assert reasons(event("s", E.SENT, 0), acted) == {}


@pytest.mark.parametrize(
    ("delivered", "acted", "is_same"),
    [
        ({"message_key": "m"}, {"message_key": "m"}, True),
        ({"message_key": "m", "send_id": "s"}, {"message_key": "n", "send_id": "s"}, False),
        ({"message_key": "", "send_id": "s"}, {"message_key": "n", "send_id": "s"}, True),
        ({"message_key": "m", "send_id": "s"}, {"message_key": "", "send_id": "s"}, True),
        ({"message_key": "m"}, {"message_key": ""}, False),
        ({"message_key": ""}, {"message_key": ""}, False),
    ],
)
def test_a_mail_is_known_by_its_message_else_by_its_send(delivered, acted, is_same):
    found = reasons(event("d", E.DELIVERED, 0, **delivered), event("a", E.CLICKED, 1, **acted))
    assert bool(found) == is_same


@pytest.mark.parametrize(("last", "is_burst"), [(10.0, True), (10.001, False)])
def test_three_links_in_ten_seconds_are_no_person(last, is_burst):
    clicks = [event(str(n), E.CLICKED, t, url=str(n)) for n, t in enumerate((0, 4, last))]
    assert set(reasons(*clicks)) == ({"0", "1", "2"} if is_burst else set())


def test_clicks_on_one_link_or_on_none_are_no_burst():
    for urls in (("a",) * 9, ("a", "b") * 4, ("",) * 9):
        clicks = [event(str(n), E.CLICKED, n / 10, url=url) for n, url in enumerate(urls)]
        assert reasons(*clicks) == {}


@pytest.mark.parametrize(("last", "is_burst"), [(0.999999, True), (1.0, False)])
def test_three_mails_in_one_second_are_no_person(last, is_burst):
    opens = [event(str(n), E.OPENED, t, message_key=str(n)) for n, t in enumerate((0, 0.5, last))]
    assert set(reasons(*opens)) == ({"0", "1", "2"} if is_burst else set())
    same = [event(str(n), E.OPENED, n / 10) for n in range(9)]
    assert reasons(*same) == {}


@pytest.mark.parametrize(
    ("links", "n", "step", "expected"),
    [
        (4, 4, 20, True),
        (4, 4, 20.1, False),
        (4, 3, 11, False),
        (2, 2, 11, False),
        ("4", 4, 20, True),
    ],
)
def test_all_links_of_a_mail_in_a_minute_are_no_person(links, n, step, expected):
    mail = event("s", E.SENT, -9_000, properties={"links": links})
    clicks = [event(str(i), E.CLICKED, i * step, url=str(i)) for i in range(n)]
    assert set(reasons(mail, *clicks)) == ({str(i) for i in range(n)} if expected else set())


@pytest.mark.parametrize("value", [True, -3, 4.5, "x", "²", "9" * 9, None, ""])
def test_a_number_of_links_that_is_none_is_none(value):
    assert links_of(event("s", E.SENT, 0, properties={"links": value})) in (0, 1)


def test_a_hidden_link_is_found_by_no_person():
    by_address = event("a", E.CLICKED, 900, url="https://x.example/?opportune-honeypot=1")
    by_property = event("b", E.CLICKED, 950, properties={"honeypot": True})
    other = event("c", E.CLICKED, 999, properties={"honeypot": False})
    assert reasons(by_address, by_property, other) == {"a": {"honeypot"}, "b": {"honeypot"}}


@pytest.mark.parametrize("kind", [E.UNSUBSCRIBED, E.COMPLAINED, E.RESUBSCRIBED, E.BOUNCED])
@pytest.mark.parametrize("actor", list(Actor))
def test_who_wants_no_more_mail_is_never_labelled_away(kind, actor):
    mail = event("d", E.DELIVERED, 0, properties={"links": 3})
    clicks = [event(str(n), E.CLICKED, n, url=str(n)) for n in range(9)]
    wish = event("w", kind, 1, device="Barracuda", actor=actor, url="opportune-honeypot")
    stored = {e.event_id: e for e in labelled([mail, *clicks, wish], ())}
    assert stored["w"] == wish
    assert stored["0"].actor is Actor.MACHINE


@given(LABELS, REASONS, REASONS)
def test_evidence_joins_in_any_order_and_only_ever_raises(label, some, more):
    together = raised(label, [*some, *more])
    assert raised(raised(label, some), more) == together
    assert raised(raised(label, more), some) == together
    assert raised(together, some) == together
    assert HEIGHT[together.actor] >= HEIGHT[label.actor]
    assert set(together.reasons) == {*label.reasons, *some, *more}


@given(LABELS)
def test_a_provider_s_own_flags_stay_as_given(label):
    given_flags = [r for r in label.reasons if r not in set(ActorReason)]
    kept = raised(label, [ActorReason.HONEYPOT]).reasons
    assert [r for r in kept if r not in set(ActorReason)] == given_flags


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        *((agent, Agent.PERSON) for agent in known.PEOPLE),
        *((agent, Agent.SCANNER) for agent in known.NAMED_SCANNERS),
        (known.APPLE, Agent.PRIVACY_PROXY),
        (known.GMAIL, Agent.IMAGE_PROXY),
        (known.GMAIL_AHEAD, Agent.IMAGE_PROXY),
        (known.YAHOO, Agent.IMAGE_PROXY),
        ("Outlook-iOS/731.4827043.prod.iphone (4.2402.1)", Agent.PERSON),
        ("Mozilla/5.0 (Linux; Android 10; Cubot_P40) AppleWebKit/537.36", Agent.PERSON),
        ("mobile", Agent.PERSON),
        (" ", Agent.MISSING),
    ],
)
def test_an_agent_is_what_its_maker_says(agent, kind):
    assert agent_of(agent) is kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (known.IPHONE, "mobile"), (known.PIXEL, "mobile"), (known.CUBOT, "mobile"),
        (known.INSTAGRAM, "mobile"), (known.IPAD, "tablet"), (known.CHROME, "desktop"),
        (known.MAC, "desktop"), (known.FIREFOX, "desktop"), (known.OUTLOOK, "desktop"),
        ("Mozilla/5.0 (Linux; Android 13; SM-X700) Chrome/120.0.0.0 Safari/537.36", "tablet"),
        ("Outlook-Android/2.0", "mobile"), ("Outlook-iOS/731.prod.iphone (4.2402.1)", "mobile"),
        (known.GMAIL, "other"), (known.YAHOO, "other"), (known.APPLE, "other"), ("curl/8", "other"),
        ("mobile", "mobile"), ("Mobile", "mobile"), ("desktop", "desktop"), ("PC", "desktop"),
        ("Tablet", "tablet"), ("smartphone", "mobile"), ("unknown", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_a_device_has_a_class(text, expected):
    assert device_class(text) == expected


@given(st.text())
def test_any_text_has_a_class_and_a_kind(text):
    assert device_class(text) in {"mobile", "tablet", "desktop", "other"}
    assert agent_of(text) in Agent


def test_a_correction_is_made_once_and_a_label_may_come_back():
    click = event("c", E.CLICKED, 0)
    now = standing(click, ())
    found = findings([event("d", E.DELIVERED, -1), click])
    first = corrected(click, now, found)
    assert first is not None
    assert corrected(click, standing(click, [first]), found) is None
    human = Label(Actor.HUMAN, ("confirmed", "we asked"))
    there = relabelled(click, human, decided_at=AT, previous=first.event_id)
    back = relabelled(click, Label(*standing(click, [first]).label), decided_at=AT, previous="x")
    again = relabelled(click, human, decided_at=AT, previous=back.event_id)
    assert len({first.event_id, there.event_id, back.event_id, again.event_id}) == 4
    assert standing(click, [first, there]).is_pinned
    assert corrected(click, standing(click, [first, there]), found) is None


def test_a_person_s_correction_stands_whatever_the_rules_say_later_or_said_before():
    click = event("c", E.CLICKED, 0)
    rule = relabelled(click, Label(Actor.MACHINE, ("link_burst",)), decided_at=AT + 9, previous="")
    person = rule._replace(event_id="p", provider="crm", actor=Actor.HUMAN, actor_reasons=("ours",))
    now = standing(click, [rule, person])
    assert (now.label, now.is_pinned) == (Label(Actor.HUMAN, ("ours",)), True)
    found = findings([event("d", E.DELIVERED, -1), click])
    assert corrected(click, now, found) is None
    assert corrected(click, now._replace(is_pinned=False), found) is not None
    later = person._replace(event_id="q", actor=Actor.UNKNOWN)
    assert standing(click, [rule, person, later]).label.actor is Actor.UNKNOWN


def test_one_more_reason_for_a_machine_is_not_worth_a_correction():
    click, delivery = event("c", E.CLICKED, 100), event("d", E.DELIVERED, 0)
    for actor in Actor:
        now = Standing(Label(actor, ("theirs",)), "", AT, is_pinned=False)
        told = corrected(click, now, findings([delivery, click]))
        assert (told is None) == (actor is not Actor.HUMAN)
        if told is not None:
            assert (told.actor, told.actor_reasons) == (Actor.HUMAN, ("theirs", EARLY))


def test_a_correction_is_dated_when_its_evidence_was_complete():
    click = event("c", E.CLICKED, 0)._replace(received_at=AT + 50)
    late = event("d", E.DELIVERED, -1)._replace(received_at=AT + 90)
    early = late._replace(received_at=AT + 10)
    for delivery, moment in ((late, AT + 90), (early, AT + 50)):
        found = corrected(click, standing(click, ()), findings([click, delivery]))
        assert (found.occurred_at, found.received_at) == (moment, moment)
        assert (found.provider, found.properties) == (OWN, {"event_id": "c"})
    mail = event("s", E.SENT, -9, properties={"links": 3})._replace(received_at=AT + 10**9)
    told = findings([mail, *(event(str(n), E.CLICKED, 20 * n, url=str(n)) for n in range(3))])
    assert {finding.known_at for finding in told} == {AT + 10**9}
    now = Standing(Label(Actor.HUMAN, ()), "before", AT + 95, is_pinned=False)
    assert corrected(click, now, findings([click, late])).occurred_at == AT + 95
    assert AHEAD_US == 30 * SECOND_US
