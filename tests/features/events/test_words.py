"""Topics of a text: one rule wherever it is met, and nothing else of the text."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.errors import EventRejectedError, RejectReason
from features.events.mapped import RowMapper
from features.events.mapping import Mapping
from features.events.schema import MAX_KEY_CHARS, MAX_TOPICS, parse_event
from features.events.words import LONGEST, MOST, STOP_WORDS, topics_of
from serving.http.answers import ask_of
from serving.http.request_schemas import ScoreRequest

AT = 1_770_000_000_000_000
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=300)


def event_of(**more):
    raw = {"event_id": "e", "type": "clicked", "recipient_key": "r", "occurred_at": AT / 1e6}
    return parse_event(raw | more, received_at=AT)


def candidate_of(**more):
    asked = {"recipient_key": "r", "candidates": [{"content_id": "c", **more}]}
    return ask_of(ScoreRequest.model_validate(asked)).candidates[0]


@given(TEXTS)
@example("Ännas SCHUHE: jetzt -50 % auf Größe 38, ana@example.com")
@example("新しい靴が入荷しました" * 30)
def test_an_event_a_candidate_and_an_import_take_the_same_topics_of_a_text(text):
    topics = event_of(text=text).topics
    assert candidate_of(text=text).topics == topics == topics_of(text)
    mapping = Mapping.model_validate(
        {"event_id": "e", "type": "t", "recipient_key": "r", "occurred_at": "at", "text": "name"}
    )
    row = {"e": "1", "t": "clicked", "r": "r", "at": "2025-11-07T00:00:00Z", "name": text}
    imported = parse_event(RowMapper(mapping, key_secret=None).raw_of(row, 1), received_at=AT)
    assert set(imported.topics) == set(topics)  # cells are stripped
    assert len(topics) <= MOST
    assert all(topic == topic.lower() and 3 <= len(topic) <= LONGEST for topic in topics)
    assert event_of(topics=list(topics)).topics == topics  # they are legal as they stand


TOPICS = st.lists(
    st.text("abc", min_size=1, max_size=5), min_size=1, max_size=MAX_TOPICS, unique=True
)


@given(TEXTS, TOPICS)
def test_topics_that_are_given_win(text, topics):
    assert event_of(text=text, topics=topics).topics == tuple(topics)
    assert candidate_of(text=text, topics=topics).topics == tuple(topics)


def test_nothing_of_the_text_but_its_topics_is_kept():
    event = event_of(text="Anna, your order 4711 is not lost: ask ana@example.com")
    assert event.topics == ("anna", "order", "lost", "ask")
    assert repr(event._replace(topics=())) == repr(event_of())  # `value` is NaN


def test_words_that_stand_everywhere_and_addresses_are_no_topics():
    assert topics_of("Your shoes and all that are for YOU today") == ("shoes",)
    assert topics_of("mail ana@example.com or bo%40example.org now") == ("mail",)
    assert all(word == word.lower() and len(word) >= 3 for word in STOP_WORDS)


def test_a_text_too_long_or_none_at_all_is_refused():
    for text, reason in (("x" * 2_049, RejectReason.TOO_LONG), (["x"], RejectReason.BAD_VALUE)):
        with pytest.raises(EventRejectedError) as caught:
            event_of(text=text)
        assert (caught.value.reason, caught.value.field) == (reason, "text")
    assert event_of(text="").topics == event_of(text=None).topics == ()
    assert LONGEST <= MAX_KEY_CHARS
