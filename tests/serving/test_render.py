"""Scores by a URL: flat, complete, kept for a while, and open to who has a key or a signed link."""

import re
import time
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from starlette.testclient import TestClient
from typer.testing import CliRunner

from features.events.schema import MAX_KEY_CHARS
from pipelines.cli import app
from serving.flat import flat
from serving.http.app import create_app
from serving.http.render import QUERY, RenderAnswer
from serving.keys import KeyFile, Scope
from serving.links import MAX_LINK_S, is_signed, render_link
from serving.settings import ServingSettings
from tests.serving.conftest import starting
from tests.serving.test_schemathesis import FUZZ, checked

SECRET = "0123456789abcdef-secret"
NOW = 1_770_000_000


@pytest.fixture(scope="module")
def service(small_world, tmp_path_factory):
    copy = small_world.copy(tmp_path_factory.mktemp("render") / "var")
    with starting() as start:
        yield start(copy.data_dir, OPPORTUNE_RENDER_SECRET=SECRET)


def get(service, key="r", headers=None, **query):
    return httpx2.get(f"{service.url}/v1/render/{key}", params=query, headers=headers, timeout=30)


def told(answer):
    """A complete answer: every name there, and nothing that a template would have to look into."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == RenderAnswer.model_fields.keys()
    assert all(isinstance(value, str | int | float | bool) for value in body.values())
    return body


def test_it_is_the_score_on_one_level(service, small_world):
    key, rows = small_world.people[0], small_world.candidates
    items = ",".join(f"{row['content_id']}:{'|'.join(row['topics'])}" for row in rows)
    body = told(get(service, key, send_id="s", items=items, tz="Europe/Berlin"))
    score = service.score(key, send_id="s", candidates=rows, timezone="Europe/Berlin")
    assert body["reason"] == "none"
    chances = {"p_engage", "p_churn"}  # of another second
    assert {k: v for k, v in body.items() if k not in chances | {"ignored"}} == {
        k: v for k, v in flat(score).items() if k not in chances
    }
    assert [body[f"item_{i + 1}"] for i in range(5)] == [
        row["content_id"] for row in score["content"]["ranking"][:5]
    ]
    assert body["variant"] == body["item_1"] != ""
    assert body["best_at"].endswith(("+01:00", "+02:00"))


@pytest.mark.parametrize(
    ("query", "ignored"),
    [
        ({}, ""),
        ({"tz": "", "items": "", "send_id": "", "default_at": ""}, ""),
        ({"items": ",,a,,"}, ""),
        ({"tz": "Nowhere/Else"}, "tz"),
        ({"default_at": "tomorrow", "tz": "{{tz}}"}, "default_at tz"),
        ({"items": "a," + "x" * 300}, "items"),
        ({"items": ",".join(map(str, range(300)))}, "items"),
        ({"window_from": "2026-03-02", "window_to": "2026-03-01"}, "window_from window_to"),
        ({"send_id": "s" * 300, "explore": "maybe", "test": "2"}, "explore send_id test"),
        ({"utm_source": "newsletter"}, ""),
    ],
)
def test_what_cannot_be_read_of_a_query_is_left_out_and_named(service, query, ignored):
    assert told(get(service, **query))["ignored"] == ignored


def test_an_offset_whose_plus_became_a_blank_is_read(service):
    hour = (int(time.time()) // 3_600 + 3) * 3_600
    at = time.strftime("%Y-%m-%dT%H:%M:%S+02:00", time.gmtime(hour + 7_200))
    for text in (at, at.replace("+", " "), str(hour)):
        body = told(get(service, default_at=text))
        assert (body["best_at_epoch"], body["ignored"]) == (hour, "")


def test_an_address_and_a_key_that_is_none_are_refused_without_an_echo(service):
    for key in ("ann%40mail.example", "x" * 300):
        answer = get(service, key)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert "ann" not in answer.text
    assert told(get(service, "a%2Fb%20c"))["recipient_key"] == "a/b c"


def test_it_may_be_kept_for_a_minute_but_for_an_answer_for_want_of_a_better(service, small_world):
    key = small_world.people[1]
    first = get(service, key, send_id="s")
    assert first.headers["cache-control"] == "private, max-age=60"
    tag = first.headers["etag"]
    for known in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        again = get(service, key, send_id="s", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    other = get(service, key, send_id="t", headers={"if-none-match": tag})
    assert told(other)["send_id"] == "t"
    late = get(service, key, headers={"x-deadline-ms": "0.001", "if-none-match": tag})
    assert told(late)["reason"] == "deadline"
    assert late.headers.get_list("cache-control") == ["no-store"]
    assert "etag" not in late.headers


KEYS = st.text(st.characters(exclude_characters="@", codec="utf-8"), min_size=1, max_size=40)
PAIRS = st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=4)


@given(key=KEYS, query=PAIRS, other=PAIRS, later=st.integers(1, MAX_LINK_S))
def test_a_signature_holds_for_what_was_signed_in_any_order_and_for_nothing_else(
    key, query, other, later
):
    query = [pair for pair in query if pair[0] not in {"sig", "expires"}]
    link = render_link("http://h/", key, query, secret=SECRET, expires_at=NOW + later)
    pairs = parse_qsl(urlsplit(link).query, keep_blank_values=True)

    def holds(key=key, pairs=pairs, secret=SECRET, now=NOW):
        return is_signed(key, pairs, secret=secret, now=now)

    assert holds()
    assert holds(pairs=pairs[::-1])
    assert holds(now=NOW + later - 1)
    assert not holds(now=NOW + later)
    assert not holds(now=NOW + later - MAX_LINK_S - 1)
    assert not holds(key=key + "/")
    assert not holds(secret=SECRET + "x")
    for place, (name, value) in enumerate(pairs):
        for changed in ((name, value + "0"), (name + "0", value)):
            assert not holds(pairs=[*pairs[:place], changed, *pairs[place + 1 :]])
        assert not holds(pairs=pairs[:place] + pairs[place + 1 :])
        assert not holds(pairs=[*pairs, (name, value)])
    if added := [pair for pair in other if pair[0] != "sig"]:
        assert not holds(pairs=[*pairs, *added])


def test_with_keys_it_takes_a_key_that_may_score_or_a_link(start_process, tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    score, inspect = (keys.add(s, frozenset({s}), now=NOW) for s in (Scope.SCORE, Scope.INSPECT))
    process = start_process(tmp_path, OPPORTUNE_RENDER_SECRET=SECRET)

    def status(path, key=""):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.get(process.url + path, headers=headers, timeout=30).status_code

    def link(**more):
        asked = {"expires_at": int(time.time()) + 600, "secret": SECRET} | more
        url = render_link("", "r", [("send_id", "s"), ("items", "a:x|y,b")], **asked)
        return url.removeprefix(process.url)

    assert [status("/v1/render/r", key) for key in ("", score, inspect)] == [401, 200, 403]
    assert status(link()) == 200
    far = int(time.time()) + MAX_LINK_S + 60
    for wrong in (
        link(expires_at=int(time.time()) - 1), link(expires_at=far), link(secret="another" * 4),
        link().replace("/r?", "/q?"), link().replace("=s&", "=t&"), link() + "&items=c",
        link().rpartition("=")[0] + "=",
    ):  # fmt: skip
        answer = httpx2.get(process.url + wrong, timeout=30)
        assert answer.status_code == 403, wrong
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
    assert status(link().replace("/v1/render/", "/v1/recipients/")) == 401
    assert SECRET not in process.log.read_text()


def test_without_a_secret_a_signature_opens_nothing(tmp_path):
    keys = KeyFile(tmp_path / "keys.json")
    url = render_link("", "r", [], secret="", expires_at=int(time.time()) + 600)
    with TestClient(create_app(ServingSettings(data_dir=tmp_path))) as http:
        assert http.get(url).status_code == 200  # it is open
    keys.add("a", frozenset({Scope.SCORE}), now=NOW)
    with TestClient(create_app(ServingSettings(data_dir=tmp_path))) as http:
        assert http.get(url).status_code == 401


def test_the_command_makes_a_link_that_holds(service, monkeypatch):
    command = ["render-link", "a/b", "--send-id", "s", "--items", "a,b", "--url", service.url]
    without = CliRunner().invoke(app, command)
    assert without.exit_code == 2
    assert "OPPORTUNE_RENDER_SECRET" in re.sub(r"\s+", "", without.output)
    monkeypatch.setenv("OPPORTUNE_RENDER_SECRET", SECRET)
    made = CliRunner().invoke(app, [*command, "--hours", "1"])
    assert made.exit_code == 0, made.output
    body = told(httpx2.get(made.output.strip(), timeout=30))
    assert (body["recipient_key"], body["send_id"]) == ("a/b", "s")
    assert httpx2.get(made.output.strip() + "0", timeout=30).status_code == 403
    wrong = CliRunner().invoke(app, [*command, "--tz", "Mars"])
    assert wrong.exit_code == 2
    assert "'Mars'" in wrong.output
    assert "Europe/Berlin" in wrong.output


@pytest.mark.parametrize("key", ["jane@example.org", "", "x" * (MAX_KEY_CHARS + 1)])
def test_no_link_is_made_that_the_service_refuses_for_its_key(service, monkeypatch, key):
    monkeypatch.setenv("OPPORTUNE_RENDER_SECRET", SECRET)
    assert get(service, key).status_code == 400
    made = CliRunner().invoke(app, ["render-link", "--url", service.url, "--", key])
    assert made.exit_code == 2, made.output
    assert "http" not in made.output
    assert key not in made.output or not key


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_whatever_is_asked_is_answered_as_described(tmp_path, mode):
    with TestClient(create_app(ServingSettings(data_dir=tmp_path, decision_log=False))) as http:
        document = http.get("/openapi.json").json()
        operation = document["paths"]["/v1/render/{recipient_key}"]["get"]
        assert {one["name"] for one in operation["parameters"]} == {"recipient_key", *QUERY}
        described = schemathesis.openapi.from_dict(document)["/v1/render/{recipient_key}"]["GET"]
        statuses = set()

        @FUZZ
        @given(case=described.as_strategy(generation_mode=mode))
        def law(case):
            statuses.add(checked(http, case).status_code)

        law()
    assert statuses <= {200, 400, 404}  # a line break is in no path
    assert 200 in statuses
