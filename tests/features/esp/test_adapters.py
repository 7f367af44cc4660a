"""The contract of every adapter: documented payloads in, the schema's events out, no address.

A provider joins by its payloads in tests/data/esp, a table of types here and a way to sign.
"""

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import EventRejectedError, RejectReason
from features.events.agents import opener
from features.events.esp import ADAPTERS
from features.events.mapped import RowMapper
from features.events.mapping import Mapping
from features.events.schema import SECOND_US, Actor
from features.events.schema import EventType as E

DATA = Path(__file__).resolve().parents[2] / "data" / "esp"
AT = 1_762_556_400 * SECOND_US  # when everything in the payloads happened, to the hour
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"

# What each documented type means; None is kept aside, () tells nothing at all.
TABLE: dict[str, dict[str, Any]] = {
    "sendgrid": {
        "processed": E.SENT,
        "deferred": E.DEFERRED,
        "delivered": E.DELIVERED,
        "bounce": E.BOUNCED,
        "blocked": E.BOUNCED,
        "dropped": E.DROPPED,
        "open": E.OPENED,
        "open_machine": E.OPENED,
        "click": E.CLICKED,
        "spamreport": E.COMPLAINED,
        "unsubscribe": E.UNSUBSCRIBED,
        "group_unsubscribe": E.UNSUBSCRIBED,
        "group_resubscribe": E.RESUBSCRIBED,
        "account_status_change": None,
    },
    "ses": {
        "send": E.SENT,
        "delivery": E.DELIVERED,
        "delivery_notification": E.DELIVERED,
        "delivery_delay": E.DEFERRED,
        "bounce_permanent": E.BOUNCED,
        "bounce_undetermined": E.BOUNCED,
        "bounce_transient": E.DEFERRED,
        "bounce_notification": (E.BOUNCED, E.BOUNCED),
        "complaint": E.COMPLAINED,
        "complaint_notification": E.COMPLAINED,
        "reject": E.DROPPED,
        "rendering_failure": E.DROPPED,
        "open": E.OPENED,
        "open_several": (),
        "click": E.CLICKED,
        "subscription_unsubscribe": E.UNSUBSCRIBED,
        "subscription_topic": None,
    },
    "mailgun": {
        "accepted": E.SENT,
        "rejected": E.DROPPED,
        "delivered": E.DELIVERED,
        "failed_permanent": E.BOUNCED,
        "failed_temporary": E.DEFERRED,
        **{f"opened{bot}": E.OPENED for bot in ("", "_apple", "_gmail", "_generic")},
        **{f"clicked{bot}": E.CLICKED for bot in ("", "_apple", "_gmail", "_generic")},
        "unsubscribed": E.UNSUBSCRIBED,
        "complained": E.COMPLAINED,
        "list_member_uploaded": None,
    },
    "postmark": {
        "delivery": E.DELIVERED,
        "bounce": E.BOUNCED,
        "open": E.OPENED,
        "click": E.CLICKED,
        "spam_complaint": E.COMPLAINED,
        "subscription_off": E.UNSUBSCRIBED,
        "subscription_on": E.RESUBSCRIBED,
        "inbound": None,
    },
    "sparkpost": {
        "injection": E.SENT,
        "delivery": E.DELIVERED,
        "bounce": E.BOUNCED,
        "out_of_band": E.BOUNCED,
        "delay": E.DEFERRED,
        "policy_rejection": E.DROPPED,
        "generation_failure": E.DROPPED,
        "generation_rejection": E.DROPPED,
        "spam_complaint": E.COMPLAINED,
        "open": E.OPENED,
        "initial_open": E.OPENED,
        "amp_open": E.OPENED,
        "amp_initial_open": E.OPENED,
        "click": E.CLICKED,
        "amp_click": E.CLICKED,
        "list_unsubscribe": E.UNSUBSCRIBED,
        "link_unsubscribe": E.UNSUBSCRIBED,
        "relay_delivery": None,
        "ping": (),
        "batch": (E.DELIVERED, E.OPENED),
    },
    "segment": {
        "delivered": E.DELIVERED,
        "opened": E.OPENED,
        "opened_user_id": E.OPENED,
        "opened_userId": E.OPENED,
        "clicked": E.CLICKED,
        "bounced": E.BOUNCED,
        "marked_as_spam": E.COMPLAINED,
        "unsubscribed": E.UNSUBSCRIBED,
        "product_viewed": E.PRODUCT_VIEWED,
        "products_searched": E.SEARCHED,
        "product_added": E.CART_ADDED,
        "product_removed": E.CART_REMOVED,
        "checkout_started": E.CHECKOUT_STARTED,
        "order_completed": E.PURCHASED,
        "signed_up": E.SIGNED_UP,
        "page": E.PAGE_VIEWED,
        "screen": E.PAGE_VIEWED,
        "unknown_event": None,
        "identify": None,
        "delete": None,
        "batch": (E.OPENED, E.CLICKED),
    },
}
CASES = [(provider, name) for provider, types in TABLE.items() for name in types]
ADDRESSED = [(p, n) for p, n in CASES if TABLE[p][n] not in (None, (), E.PAGE_VIEWED)]
OWN_KEY = {("segment", "opened_user_id"), ("segment", "opened_userId")}
ONE = {  # one click of every provider
    "sendgrid": "click", "ses": "click", "mailgun": "clicked", "postmark": "click",
    "sparkpost": "click", "segment": "clicked",
}  # fmt: skip
STOP = {  # who wants no more mail
    "sendgrid": ("unsubscribe", "spamreport"), "ses": ("subscription_unsubscribe", "complaint"),
    "mailgun": ("unsubscribed", "complained"), "postmark": ("subscription_off", "spam_complaint"),
    "sparkpost": ("list_unsubscribe", "spam_complaint"),
    "segment": ("unsubscribed", "marked_as_spam"),
}  # fmt: skip


def events(esp, keys, provider: str, body: Any) -> list[Any]:
    return list(esp.events_of(provider, keys.deliver(provider, body)))


def one(esp, keys, provider: str, body: Any) -> Any:
    (found,) = events(esp, keys, provider, body)
    return found


def everything(event: Any) -> str:
    """All text of an event but the Message-ID, which has an @ and is no address."""
    fields = [getattr(event, name) for name in event.__slots__ if name != "message_key"]
    return repr(fields)


def agent_in(provider: str, item: dict[str, Any], agent: str) -> None:
    """Writes a user agent where the provider has it."""
    match provider:
        case "sendgrid":
            item["useragent"] = agent
        case "mailgun":
            item["event-data"]["client-info"] = {"user-agent": agent, "bot": ""}
        case "ses":
            for name in ("open", "click", "complaint", "subscription"):
                if name in item:
                    item[name]["userAgent"] = agent
        case "postmark":
            item["UserAgent"] = agent
        case "sparkpost":
            item["user_agent"] = agent
        case _:
            item["context"]["userAgent"] = agent


def test_every_adapter_has_a_table_and_every_payload_is_in_it():
    assert set(TABLE) == set(ADAPTERS)
    for provider, types in TABLE.items():
        assert {path.stem for path in (DATA / provider).glob("*.json")} == set(types)


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_every_documented_type_becomes_the_right_event(esp, keys, provider, name):
    wanted = TABLE[provider][name]
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    delivery = keys.deliver(provider, esp.payload(provider, name))
    told = esp.told_by(provider, delivery)
    assert tuple(t.kind for t in told) == wanted
    assert all(t.raw for t in told)  # what is kept aside is kept whole
    for t in told:
        if t.kind is not None:
            event = esp.event_of(t, provider)
            assert event.type is t.kind
            assert event.provider == provider
            assert event.channel == "email"
            assert abs(event.occurred_at - AT) <= 3_600 * SECOND_US
            assert event.received_at == esp.NOW


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_no_address_is_in_any_field(esp, keys, provider, name):
    for event in events(esp, keys, provider, esp.payload(provider, name)):
        assert "@" not in everything(event)
        assert esp.ADDRESS not in event.message_key


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize(
    "spelled",
    [
        "https://example.com/u?mail=ana@example.com",
        "https://example.com/u?mail=ana%40example.com&x=1",
        "https://example.net/r?to=https%3A%2F%2Fexample.com%2Fana%2540example.com",
        "Ana <ANA@example.com>, bo@example.org; ask mailto:cy@example.net",
    ],
)
def test_no_address_hides_in_a_link_an_agent_a_name_or_a_reason(esp, keys, provider, spelled):
    metadata = {"send_id": spelled, "content_id": spelled, "topics": f"shoes|{spelled}"}
    body = esp.with_metadata(provider, esp.payload(provider, ONE[provider]), metadata)
    for item in esp.items(provider, body):
        agent_in(provider, item, spelled)
    changed = json.dumps(body).replace("https://example.com/offer", spelled.replace('"', ""))
    event = one(esp, keys, provider, json.loads(changed))
    found = everything(event).lower()
    assert "shoes" in event.topics
    assert not any(name in found for name in ("@", "%40", "%2540"))
    assert event.url


@pytest.mark.parametrize("provider", ADAPTERS)
def test_a_message_key_that_is_the_address_is_hidden_too(esp, keys, provider):
    metadata = {"message_key": "send-7/Ana@Example.com"}
    body = esp.with_metadata(provider, esp.payload(provider, ONE[provider]), metadata)
    assert "@" not in one(esp, keys, provider, body).message_key


@pytest.mark.parametrize(("provider", "name"), [case for case in ADDRESSED if case not in OWN_KEY])
@pytest.mark.parametrize("spelled", ["ana@example.com", "ANA@Example.COM", " Ana@example.com "])
def test_the_key_is_the_one_an_import_makes_of_the_same_address(esp, keys, provider, name, spelled):
    columns = {"event_id": "e", "type": "t", "recipient_key": "mail", "occurred_at": "at"}
    mapping = Mapping.model_validate({"hash_recipient_key": True, **columns})
    rows = RowMapper(mapping, key_secret=esp.KEY_SECRET)
    row = {"e": "1", "t": "sent", "mail": spelled, "at": "2025-11-07T00:00:00Z"}
    wanted = rows.raw_of(row, 1)["recipient_key"]
    written = json.dumps(esp.payload(provider, name)).replace("ana@example.com", spelled)
    found = events(esp, keys, provider, json.loads(written))
    assert found[0].recipient_key == wanted
    assert len(wanted) == 32


@pytest.mark.parametrize("provider", ADAPTERS)
def test_the_senders_own_metadata_names_the_person_and_the_mail(esp, keys, provider):
    own = {
        "recipient_key": "person-7",
        "send_id": "send-1",
        "message_key": "mail-1",
        "content_id": "item-1",
        "topics": "shoes| news ||",
    }
    name = "delivery" if provider in {"ses", "postmark", "sparkpost"} else "delivered"
    for kind in (ONE[provider], name, *STOP[provider]):
        body = esp.with_metadata(provider, esp.payload(provider, kind), own)
        event = one(esp, keys, provider, body)
        assert event.recipient_key == "person-7"
        assert (event.send_id, event.message_key, event.content_id) == (
            "send-1", "mail-1", "item-1",
        )  # fmt: skip
        assert event.topics == ("shoes", "news")


SUBJECTED = {
    "mailgun": "opened", "postmark": "bounce", "sparkpost": "click", "segment": "clicked",
    "ses": "open",
}  # fmt: skip


@pytest.mark.parametrize(("provider", "name"), SUBJECTED.items())
def test_the_subject_gives_the_topics_where_the_sender_gave_none(esp, keys, provider, name):
    subject = "Boots for ana@example.com, hiking " + "!" * 3_000
    written = json.dumps(esp.payload(provider, name)).replace('"News"', json.dumps(subject))
    body = json.loads(written)
    if provider == "ses":  # of those who ask for headers in the events
        body["mail"]["commonHeaders"] = {"subject": subject}
    event = one(esp, keys, provider, body)
    assert event.topics == ("boots", "hiking")
    assert "!!!" not in everything(event)
    tagged = esp.with_metadata(provider, body, {"topics": "shoes"})
    assert one(esp, keys, provider, tagged).topics == ("shoes",)


@pytest.mark.parametrize("provider", ADAPTERS)
def test_an_address_given_as_the_opaque_key_is_refused(esp, keys, provider):
    body = esp.with_metadata(
        provider, esp.payload(provider, ONE[provider]), {"recipient_key": "ana@example.com"}
    )
    with pytest.raises(EventRejectedError) as caught:
        one(esp, keys, provider, body)
    assert caught.value.reason is RejectReason.ADDRESS_AS_KEY
    assert "ana" not in str(caught.value)


@pytest.mark.parametrize("spelled", ["userId", "user_id"])
def test_segment_names_a_person_by_either_spelling(esp, keys, spelled):
    event = one(esp, keys, "segment", esp.payload("segment", f"opened_{spelled}"))
    assert event.recipient_key == "person-7"
    assert event.device == FIREFOX


@pytest.mark.parametrize(("provider", "name"), CASES)
def test_the_same_payload_gives_the_same_events(esp, keys, provider, name):
    first = events(esp, keys, provider, esp.payload(provider, name))
    again = events(esp, keys, provider, esp.payload(provider, name))
    assert repr(first) == repr(again)  # `value` is NaN, which equals nothing


def test_two_different_events_never_share_an_id(esp, keys):
    found = [
        event.event_id
        for provider, name in CASES
        for event in events(esp, keys, provider, esp.payload(provider, name))
    ]
    assert len(found) == len(set(found)) > 60


@pytest.mark.parametrize("provider", sorted(set(ADAPTERS) - {"ses", "postmark"}))
def test_an_event_without_an_id_has_none_in_common_with_others(esp, keys, provider):
    body = esp.without_id(provider, esp.payload(provider, ONE[provider]))
    with pytest.raises(EventRejectedError) as caught:
        one(esp, keys, provider, body)
    assert (caught.value.reason, caught.value.field) == (RejectReason.MISSING_FIELD, "event_id")


@pytest.mark.parametrize("odd", [["ana"], {"a": "ana"}, [], {}, None])
@pytest.mark.parametrize("field", ["sg_event_id", "email"])
def test_a_list_or_an_object_is_no_id_and_no_address(esp, keys, field, odd):
    body = esp.payload("sendgrid", "click")
    body[0][field] = odd
    with pytest.raises(EventRejectedError) as caught:
        one(esp, keys, "sendgrid", body)
    assert caught.value.reason is RejectReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ReceivedAt", "2025-11-07T23:00:00.9070260Z"),
        ("OriginalLink", "https://example.com/other"),
        ("MessageID", "00000000-0000-0000-0000-000000000002"),
        ("Recipient", "bo@example.org"),
        ("RecordType", "Open"),
    ],
)
def test_postmarks_clicks_differ_by_time_link_message_and_person(esp, keys, field, value):
    body = esp.payload("postmark", "click")
    ids = {one(esp, keys, "postmark", given).event_id for given in (body, {**body, field: value})}
    assert len(ids) == 2


def test_mailguns_id_is_good_for_a_day(esp, keys):
    body = esp.payload("mailgun", "clicked")
    tomorrow = deepcopy(body)
    tomorrow["event-data"]["timestamp"] -= 86_400
    ids = {one(esp, keys, "mailgun", given).event_id for given in (body, tomorrow, body)}
    assert len(ids) == 2


def test_a_message_of_sns_is_one_event_for_each_recipient_it_is_about(esp, keys):
    found = events(esp, keys, "ses", esp.payload("ses", "bounce_notification"))
    assert len({event.event_id for event in found}) == 2
    assert len({event.recipient_key for event in found}) == 2  # three got the mail, two bounced


def test_a_delayed_mail_concerns_only_those_for_whom_it_is_delayed(esp, keys):
    body = esp.payload("ses", "delivery_delay")
    body["mail"]["destination"] = ["ana@example.com", "bo@example.org"]
    assert len(events(esp, keys, "ses", body)) == 1


@pytest.mark.parametrize("name", ["open", "click"])
def test_an_open_of_a_mail_to_several_teaches_nobody(esp, keys, name):
    body = esp.payload("ses", name)
    assert len(events(esp, keys, "ses", body)) == 1
    body["mail"]["destination"].append("bo@example.org")
    assert esp.told_by("ses", keys.deliver("ses", body)) == []


def test_a_ses_message_about_nobody_is_told_and_not_lost(esp, keys):
    for name in ("click", "send", "bounce_permanent"):
        body = esp.payload("ses", name)
        body["mail"]["destination"] = []
        body.get("bounce", {}).pop("bouncedRecipients", None)
        (told,) = esp.told_by("ses", keys.deliver("ses", body))
        with pytest.raises(EventRejectedError) as caught:
            esp.event_of(told, "ses")
        assert caught.value.field == "recipient_key"


def test_the_sentence_with_which_ses_greets_a_topic_is_kept(esp, keys):
    greeting = "Successfully validated SNS topic for Amazon SES event publishing."
    (told,) = esp.told_by("ses", keys.sns(esp.envelope_of(greeting)))
    assert (told.kind, told.raw) == (None, greeting)


@pytest.mark.parametrize(
    "kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation", "Something"]
)
def test_a_confirmation_of_sns_tells_no_event(esp, keys, kind):
    body = esp.payload("ses", "click")
    more = {"Type": kind, "SubscribeURL": "-", "Token": "-"}
    assert esp.told_by("ses", keys.deliver("ses", body, **more)) == []


@pytest.mark.parametrize("wish", [None, "absent"])
def test_postmark_starts_mail_again_only_where_it_says_so(esp, keys, wish):
    body = esp.payload("postmark", "subscription_on") | {"SuppressSending": wish}
    if wish == "absent":
        del body["SuppressSending"]
    (told,) = esp.told_by("postmark", keys.deliver("postmark", body))
    assert told.kind is None


def test_sendgrids_machine_flag_leaves_it_open_who_opened(esp, keys):
    actors = [
        one(esp, keys, "sendgrid", esp.payload("sendgrid", name)).actor
        for name in ("open", "open_machine", "click")
    ]
    assert actors == [Actor.HUMAN, Actor.UNKNOWN, Actor.HUMAN]


@pytest.mark.parametrize("name", ["opened", "clicked"])
def test_mailguns_bots_are_prefetchers_or_scanners(esp, keys, name):
    actors = {
        bot: one(esp, keys, "mailgun", esp.payload("mailgun", name + bot)).actor
        for bot in ("", "_apple", "_gmail", "_generic")
    }
    assert actors == {
        "": Actor.HUMAN,
        "_apple": Actor.UNKNOWN,
        "_gmail": Actor.UNKNOWN,
        "_generic": Actor.MACHINE,
    }


AGENTS = [  # agent, who opened, who clicked
    (FIREFOX, Actor.HUMAN, Actor.HUMAN),
    ("Mozilla/5.0 (Linux; Android 13; CUBOT X19) Mobile", Actor.HUMAN, Actor.HUMAN),
    ("Mozilla/5.0", Actor.UNKNOWN, Actor.HUMAN),
    (GMAIL, Actor.UNKNOWN, Actor.HUMAN),
    ("YahooMailProxy; https://example.com", Actor.UNKNOWN, Actor.HUMAN),
    ("", Actor.UNKNOWN, Actor.HUMAN),
    ("Barracuda Sentinel (EE)", Actor.MACHINE, Actor.MACHINE),
    ("Mozilla/5.0 (compatible; Googlebot/2.1)", Actor.MACHINE, Actor.MACHINE),
    ("Mozilla/5.0 HeadlessChrome/120.0", Actor.MACHINE, Actor.MACHINE),
    ("curl/8.1", Actor.MACHINE, Actor.MACHINE),
]


@pytest.mark.parametrize(("agent", "opened", "clicked"), AGENTS)
@pytest.mark.parametrize("provider", ["ses", "postmark", "sparkpost", "segment"])
def test_the_agent_says_who_acted_where_the_provider_does_not(
    esp, keys, provider, agent, opened, clicked
):
    names = ("opened", "clicked") if provider == "segment" else ("open", "click")
    for name, wanted in zip(names, (opened, clicked), strict=True):
        body = esp.payload(provider, name)
        for item in esp.items(provider, body):
            agent_in(provider, item, agent)
        event = one(esp, keys, provider, body)
        assert event.actor is wanted
        assert bool(event.actor_reasons) == (wanted is not Actor.HUMAN)
        assert event.device == agent


@pytest.mark.parametrize("flag", [True, "true"])
def test_sparkposts_prefetched_opens_are_nobodys(esp, keys, flag):
    body = esp.payload("sparkpost", "open")
    esp.items("sparkpost", body)[0]["is_prefetched"] = flag
    assert one(esp, keys, "sparkpost", body).actor is Actor.UNKNOWN


@pytest.mark.parametrize("agent", ["Barracuda", "curl/8", "Mozilla/5.0", "", "é\x00" * 5_000])
@pytest.mark.parametrize("provider", ADAPTERS)
def test_who_wants_no_more_mail_always_counts_whatever_the_agent(esp, keys, provider, agent):
    for name in STOP[provider]:
        body = esp.payload(provider, name)
        for item in esp.items(provider, body):
            agent_in(provider, item, agent)
        event = one(esp, keys, provider, body)
        assert event.actor is Actor.HUMAN
        assert event.type in (E.UNSUBSCRIBED, E.COMPLAINED)


@given(st.text())
def test_only_opens_and_clicks_have_an_actor(agent):
    for kind in E:
        actor, _ = opener(kind, agent)
        assert (actor is None) == (kind not in (E.OPENED, E.CLICKED))
    assert opener(None, agent) == (None, ())


def test_a_long_reason_or_link_does_not_cost_the_event(esp, keys):
    bounce = esp.payload("sendgrid", "bounce")
    bounce[0]["reason"] = "550 " + "x" * 10_000 + "\x00"
    assert len(one(esp, keys, "sendgrid", bounce).properties["reason"]) == 2_048
    click = esp.payload("sendgrid", "click")
    click[0]["url"] = "https://example.com/" + "x" * 10_000
    assert len(one(esp, keys, "sendgrid", click).url) == 2_048


TIME = {  # where a click's time stands
    "sendgrid": ("timestamp",), "ses": ("click", "timestamp"),
    "mailgun": ("event-data", "timestamp"), "postmark": ("ReceivedAt",),
    "sparkpost": ("timestamp",), "segment": ("timestamp",),
}  # fmt: skip


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize(
    ("written", "micros"),
    [
        (1_762_556_400, 0),
        (1_762_556_400.25, 250_000),
        ("2025-11-07T23:00:00Z", 0),
        ("2025-11-08T00:00:00.25+01:00", 250_000),
        ("2025-11-07T23:00:00.2500009Z", 250_000),
        ("2025-11-07T23:00:00", 0),
    ],
)
def test_times_are_seconds_or_iso_text(esp, keys, provider, written, micros):
    body = esp.payload(provider, ONE[provider])
    (item,) = esp.items(provider, body)
    *path, last = TIME[provider]
    for name in path:
        item = item[name]
    item[last] = written
    assert one(esp, keys, provider, body).occurred_at == AT + micros


def test_sparkposts_seconds_come_as_text(esp, keys):
    body = esp.payload("sparkpost", "click")
    esp.items("sparkpost", body)[0]["timestamp"] = "1762556400"
    assert one(esp, keys, "sparkpost", body).occurred_at == AT


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize("written", [None, "", "yesterday", [], {}, True, -1, 10**15, 1e300])
def test_a_time_that_cannot_be_is_rejected_not_guessed(esp, keys, provider, written):
    body = esp.payload(provider, ONE[provider])
    (item,) = esp.items(provider, body)
    *path, last = TIME[provider]
    for name in path:
        item = item[name]
    item[last] = written
    if provider == "ses":
        body["mail"].pop("timestamp")
    item.pop("originalTimestamp", None)
    with pytest.raises(EventRejectedError) as caught:
        one(esp, keys, provider, body)
    wanted = {RejectReason.MISSING_FIELD, RejectReason.BAD_TIME, RejectReason.TOO_LONG}
    assert caught.value.reason in wanted


@settings(max_examples=20)
@given(st.data())
def test_order_and_repetition_do_not_change_the_set_of_events(esp, keys, data):
    told = {}
    for provider, name in CASES:
        delivery = keys.deliver(provider, esp.payload(provider, name))
        told[provider, name] = [(e.event_id, repr(e)) for e in esp.events_of(provider, delivery)]
    wanted = {pair for found in told.values() for pair in found}
    order = data.draw(st.permutations(CASES))
    again = data.draw(st.lists(st.sampled_from(CASES), max_size=20))
    seen: dict[str, str] = {}
    for provider, name in [*again, *order]:
        body = esp.payload(provider, name)
        if provider == "sendgrid":  # its arrays are cut anew at every try
            body = body * data.draw(st.integers(1, 3))
        delivery = keys.deliver(provider, body)
        for event in esp.events_of(provider, delivery):
            assert seen.setdefault(event.event_id, repr(event)) == repr(event)
    assert set(seen.items()) == wanted


def test_every_value_is_left_open(esp, keys):
    """No provider tells a value in money here; none is made up."""
    for provider, name in CASES:
        for event in events(esp, keys, provider, esp.payload(provider, name)):
            assert math.isnan(event.value)
