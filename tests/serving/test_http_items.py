"""Items of a call are read as each alone would be, whatever stands before them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.http.answers import ask_of
from serving.http.items import KEPT, ItemReader
from serving.http.request_schemas import ScoreRequest

CANDIDATES = st.sampled_from([
    [], None, "a", [{"content_id": "a"}], [{"content_id": 1}], [{"content_id": "a", "more": 1}],
    [{"content_id": "a", "topics": ["x"]}, {"content_id": "b", "text": "New boots"}],
    [{"content_id": "b", "text": "New boots"}, {"content_id": "a", "topics": ["x"]}],
])  # fmt: skip
BODIES = st.fixed_dictionaries(
    {"recipient_key": st.sampled_from(["r1", "r2", "", 3])},
    optional={"candidates": CANDIDATES, "send_id": st.sampled_from(["s", 1]), "odd": st.just(1)},
)
ITEMS = BODIES | st.sampled_from([None, [], "r1", 5])


def alone(item):
    try:
        return ask_of(ScoreRequest.model_validate(item))
    except ValidationError as error:
        return [(one["loc"], one["type"]) for one in error.errors()]


@given(st.lists(st.tuples(ITEMS, st.booleans()), max_size=12))
def test_an_item_is_what_it_is_alone(items):
    reader, found = ItemReader(), []
    for item, as_bytes in items:
        try:
            found.append(reader.ask(orjson.dumps(item) if as_bytes else item))
        except ValidationError as error:
            found.append([(one["loc"], one["type"]) for one in error.errors()])
    assert found == [alone(item) for item, _ in items]


def test_candidates_said_alike_are_the_very_same():
    item = {"recipient_key": "r", "candidates": [{"content_id": "a", "topics": ["x"]}]}
    reader = ItemReader()
    first, second, line = (
        reader.ask(orjson.loads(orjson.dumps(item | {"recipient_key": key}))) for key in "abc"
    )
    assert first.candidates is second.candidates is line.candidates
    assert [first.recipient_key, second.recipient_key, line.recipient_key] == ["a", "b", "c"]


def test_the_places_of_a_mail_ask_by_turns_and_only_the_newest_are_remembered():
    def asked(reader, number):
        item = {"recipient_key": "r", "candidates": [{"content_id": str(number)}]}
        return reader.ask(orjson.loads(orjson.dumps(item))).candidates

    reader = ItemReader()
    first = [asked(reader, number) for number in range(KEPT)]
    assert all(asked(reader, number) is first[number] for number in range(KEPT))
    newest = asked(reader, KEPT)
    assert asked(reader, KEPT) is newest
    again = asked(reader, 0)
    assert again == first[0]
    assert again is not first[0]


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b'{"recipient_key": NaN}', b"[" * 10_000])
def test_bytes_that_are_no_json_are_refused(line):
    with pytest.raises(ValidationError):
        ItemReader().ask(line)
