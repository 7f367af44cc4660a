"""Laws of a mapping: what it says is what is read; what it cannot mean is an error at once."""

import hashlib
import hmac
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from features.errors import EventRejectedError, MappingInvalidError, RejectReason
from features.events.mapped import RowMapper, Skipped
from features.events.mapping import Mapping, default_mapping, load_mapping
from features.events.schema import parse_event

LATER = 1_900_000_000_000_000
NEEDED = {
    "event_id": "{id}-{row}",
    "type": {"constant": "clicked"},
    "recipient_key": "user",
    "occurred_at": "at",
}
ROW = {"id": "7", "user": "u", "at": "2024-03-01T12:00:00Z"}


def raw(spec: dict, row: dict, *, secret: str | None = None, number: int = 1):
    mapper = RowMapper(Mapping.model_validate(NEEDED | spec), key_secret=secret)
    return mapper.raw_of(ROW | row, number)


def event(spec: dict, row: dict, **more):
    return parse_event(raw(spec, row, **more), received_at=LATER)


@pytest.mark.parametrize(
    ("time", "cell", "utc"),
    [
        ("at", "2024-07-01T12:00:00+02:00", "2024-07-01T10:00:00"),
        ("at", "2024-07-01 12:00", "2024-07-01T12:00:00"),
        ("at", "1719828000", "2024-07-01T10:00:00"),
        ("at", 1719828000, "2024-07-01T10:00:00"),
        ({"column": "at", "zone": "Europe/Berlin"}, "2024-07-01 12:00", "2024-07-01T10:00:00"),
        ({"column": "at", "zone": "Europe/Berlin"}, "2024-07-01T12:00Z", "2024-07-01T12:00:00"),
        (
            {"column": "at", "zone": "Europe/Berlin"},
            datetime(2024, 1, 1, 12),  # noqa: DTZ001 - as Parquet gives it
            "2024-01-01T11:00:00",
        ),
        ({"column": "at", "format": "%d.%m.%Y %H:%M"}, "01.07.2024 12:00", "2024-07-01T12:00:00"),
        ({"column": "at", "format": "%Y%m%d"}, 20240701, "2024-07-01T00:00:00"),
        ({"column": "at", "format": "s"}, "1719828000", "2024-07-01T10:00:00"),
        ({"column": "at", "format": "s"}, Decimal("1719828000.5"), "2024-07-01T10:00:00.500000"),
        ({"column": "at", "format": "ms"}, "1719828000001", "2024-07-01T10:00:00.001000"),
        ({"column": "at", "format": "us"}, 1719828000000001, "2024-07-01T10:00:00.000001"),
    ],
)
def test_a_time_is_the_moment_that_its_format_and_zone_say(time, cell, utc):
    found = event({"occurred_at": time}, {"at": cell})
    expected = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert datetime.fromtimestamp(found.occurred_at // 10**6, UTC) == expected.replace(
        microsecond=0
    )
    assert found.occurred_at % 10**6 == expected.microsecond
    assert found.received_at == found.occurred_at  # not mapped: learnt when it happened


@pytest.mark.parametrize("form", ["iso", "s", "ms", "us", "%d.%m.%Y"])
@pytest.mark.parametrize("cell", ["32.13.2024", "soon", "NaN", "9" * 30, float("inf")])
def test_a_time_that_is_none_is_rejected_as_such(form, cell):
    with pytest.raises(EventRejectedError) as caught:
        event({"occurred_at": {"column": "at", "format": form}}, {"at": cell})
    assert (caught.value.reason, caught.value.field) == (RejectReason.BAD_TIME, "occurred_at")


@pytest.mark.parametrize(
    ("cell", "text"),
    [(17850.0, "17850"), (" a ", "a"), (Decimal("3.00"), "3"), (2.5, "2.5"), (b"x", "x"), (0, "0")],
)
def test_a_key_is_the_trimmed_text_of_its_cell(cell, text):
    assert event({}, {"user": cell}).recipient_key == text


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan")])
def test_a_cell_that_says_nothing_is_missing(cell):
    for column, field in (("user", "recipient_key"), ("id", "event_id"), ("at", "occurred_at")):
        with pytest.raises(EventRejectedError) as caught:
            event({}, {column: cell})
        assert (caught.value.reason, caught.value.field) == (RejectReason.MISSING_FIELD, field)


def test_values_translate_types_and_what_they_do_not_list_is_rejected():
    spec = {"type": {"column": "action", "values": {"open": "opened", 1: "clicked"}}}
    assert event(spec, {"action": "open"}).type == "opened"
    assert event(spec, {"action": 1}).type == "clicked"
    assert event(spec, {"action": "sent"}).type == "sent"
    with pytest.raises(EventRejectedError, match="unknown_type"):
        event(spec, {"action": "viewed"})


def test_topics_are_words_entries_or_a_list():
    words = {"topics": {"column": "t", "words": {"min_length": 4, "max": 2, "stop_words": ["The"]}}}
    assert event(words, {"t": "THE Red T-light 2x HEART heart"}).topics == ("light", "heart")
    assert event({"topics": {"column": "t", "separator": ";"}}, {"t": "a; b;;a"}).topics == (
        "a",
        "b",
    )
    for cell in ('["a", "b"]', "a|b", ["a", "b"]):
        assert event({"topics": "t"}, {"t": cell}).topics == ("a", "b")


def test_a_product_is_absent_when_a_factor_is_and_rejected_when_one_is_no_number():
    spec = {"value": {"multiply": ["n", "price", 0.5]}}
    assert event(spec, {"n": "4", "price": Decimal("2.5")}).value == 5.0
    assert raw(spec, {"n": "", "price": 1})["value"] is None
    for cell, reason in (("x", "bad_value"), ("NaN", "not_finite"), (float("inf"), "not_finite")):
        with pytest.raises(EventRejectedError, match=reason):
            event(spec, {"n": cell, "price": 1})


@pytest.mark.parametrize(
    ("condition", "kept", "left_out"),
    [
        ({"present": True}, ["a", 0], [None, "", float("nan")]),
        ({"present": False}, [None, " "], ["a"]),
        ({"above": 0}, ["0.1", 3], ["0", -1, None]),
        ({"at_most": 2}, [2, "1"], ["2.5", ""]),
        ({"equals": "a"}, ["a", " a "], ["b", None]),
        ({"not_starts_with": "C"}, ["x", None], ["C1"]),
        ({"one_of": ["a", 1]}, ["a", "1", 1.0], ["b", ""]),
    ],
)
def test_a_row_that_fails_a_condition_is_skipped_by_it(condition, kept, left_out):
    spec = {"keep": [{"column": "c"} | condition]}
    assert not any(isinstance(raw(spec, {"c": cell}), Skipped) for cell in kept)
    skipped = [raw(spec, {"c": cell}) for cell in left_out]
    assert all(isinstance(item, Skipped) and item.condition.startswith("c ") for item in skipped)


def test_a_condition_on_what_is_no_number_is_a_mistake_of_the_row():
    with pytest.raises(EventRejectedError, match="bad_value"):
        raw({"keep": [{"column": "c", "above": 0}]}, {"c": "many"})


def test_a_hashed_key_is_the_keyed_hash_of_the_trimmed_lower_case_address():
    spec = {"hash_recipient_key": True, "event_id": "{recipient_key}-{id}"}
    expected = hmac.new(b"s", b"ann@example.org", hashlib.sha256).hexdigest()[:32]
    found = event(spec, {"user": " Ann@Example.org "}, secret="s")
    assert (found.recipient_key, found.event_id) == (expected, f"{expected}-7")
    assert event(spec, {"user": "ann@example.org"}, secret="t").recipient_key != expected
    with pytest.raises(EventRejectedError, match="missing_field"):
        event({"hash_recipient_key": True}, {"user": " "}, secret="s")
    for secret in (None, ""):
        with pytest.raises(MappingInvalidError, match="OPPORTUNE_KEY_SECRET"):
            event(spec, {}, secret=secret)


BASE = 'event_id: "{id}"\ntype: {constant: sent}\nrecipient_key: user\noccurred_at: at\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BASE + "colour: x\n", ["unknown key `colour`", "recipient_key", "content_id"]),
        (BASE + "keep: [{column: a, over: 1}]\n", ["`keep.0.over`", "above"]),
        (BASE + "topics: {column: a, words: {most: 2}}\n", ["`topics.words.most`", "stop_words"]),
        (BASE + "value: {multiply: [a], add: b}\n", ["`value.add`", "multiply"]),
        (BASE + "keep: [{column: a, above: 0, below: 1}]\n", ["exactly one test"]),
        (BASE + "url: {column: a, constant: b}\n", ["exactly one of", "`template`"]),
        (BASE + "timezone: {constant: Mars/Base}\n", ["Mars/Base", "Europe/Berlin"]),
        (BASE + "timezone: {constant: right/Europe/Berlin}\n", ["right/Europe/Berlin", "IANA"]),
        (BASE + "channel: {constant: pigeon}\n", ["pigeon", "email, web or app"]),
        (BASE.replace("sent", "posted"), ["posted", "use one of"]),
        (BASE.replace(": at", ": {column: at, format: noon}"), ["iso, s, ms, us"]),
        (BASE.replace(": at", ": {column: at, zone: Nowhere}"), ["Nowhere"]),
        (BASE.replace("recipient_key: user\n", ""), ["`recipient_key`", "required"]),
        (BASE + "hash_recipient_key: true\nurl: '{user}'\n", ["`url`", "{recipient_key}"]),
        (BASE + "csv: {encoding: utf-16}\n", ["utf-16"]),
        ("a: [", ["not YAML"]),
        ("- a", ["no fields"]),
        ("", ["no fields"]),
    ],
)
def test_a_mapping_that_makes_no_sense_says_what_and_what_to_do(tmp_path, text, says):
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    with pytest.raises(MappingInvalidError) as caught:
        load_mapping(path)
    assert all(word in str(caught.value) for word in [str(path), *says])


def test_a_mapping_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "latin").write_bytes(b"url: caf\xe9")
    for name in ("none", "latin", "."):
        with pytest.raises(MappingInvalidError):
            load_mapping(tmp_path / name)


def test_a_column_that_the_file_lacks_is_named_with_those_it_has():
    mapping = Mapping.model_validate(
        NEEDED | {"url": "link", "optional_columns": ["extra"], "device": "extra"}
    )
    with pytest.raises(MappingInvalidError, match=r"lacks: link; the file has: id, user, at"):
        mapping.check_columns("f.csv", ["id", "user", "at"])
    mapping.check_columns("f.csv", ["id", "user", "at", "link"])


def test_without_a_mapping_columns_are_called_as_the_fields():
    names = ["event_id", "type", "recipient_key", "occurred_at", "topics", "properties", "value"]
    mapper = RowMapper(default_mapping("f", names), key_secret=None)
    cells = ["e", "sent", "r", "2024-03-01T12:00:00Z", "a|b", '{"n": 1}', "2.5"]
    found = parse_event(mapper.raw_of(dict(zip(names, cells, strict=True)), 1), received_at=LATER)
    assert (found.topics, found.properties, found.value) == (("a", "b"), {"n": 1}, 2.5)
    for wrong in (names[1:], [*names, "colour"]):
        with pytest.raises(MappingInvalidError, match="--mapping"):
            default_mapping("f", wrong)
