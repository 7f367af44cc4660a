"""Of an address only the class of its provider is kept, and it reaches the recipient's profile."""

import pytest

from features.definitions import AFFINITY
from features.definitions.profile import ATTRIBUTES, MAILBOX
from features.definitions.recipient import VIEW
from features.events.esp.adapter import Told, raw_event
from features.events.esp.mailboxes import mailbox_class
from features.events.schema import EventType, parse_event
from features.layout import layout_of
from features.state import State

AT = 1_700_000_000


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (" Ana.Maria+x@GMail.com ", "gmail"), ("a@googlemail.com", "gmail"),
        ("a@hotmail.co.uk", "microsoft"), ("a@outlook.de", "microsoft"),
        ("a@yahoo.com.br", "yahoo"), ("a@icloud.com", "apple"), ("a@example.org", "other"),
        ("a@gmail.com.evil.example", "other"), ("a@live.acme.example", "other"),
        ("gmail.com", ""), ("@", ""), ("", ""),
    ],
)  # fmt: skip
def test_the_class_is_of_the_domain_and_of_nothing_else(address, found):
    assert mailbox_class(address) == found


def test_a_delivery_tells_the_class_and_the_state_keeps_it():
    told = Told(EventType.DELIVERED, "1", AT, address="ana@gmail.com")
    event = parse_event(raw_event(told, "sendgrid", "secret"), received_at=AT * 1_000_000)
    assert event.properties == {MAILBOX: "gmail"}
    state = State()
    state.apply(event, layout=layout_of(VIEW), affinity=AFFINITY)
    assert state.profile == {ATTRIBUTES.index(MAILBOX): (AT * 1_000_000, "gmail")}
