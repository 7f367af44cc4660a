"""Scoring over HTTP: 200 and complete whatever is down, problem+json for mistakes, no echo."""

import socket
import sqlite3
from urllib.parse import urlsplit

import httpx2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.definitions.recipient import VIEW
from features.events.schema import zone_of
from features.packed import PackedStore
from features.packing import pack, unpack
from models.specs import SPECS
from serving.client.local import ClientReason, local_answer
from serving.http.answer_schemas import BatchAnswer
from serving.http.app import create_app
from serving.http.bodies import JSON
from serving.http.limits import NDJSON
from serving.http.request_schemas import BatchRequest, ScoreRequest
from serving.http.schemas import EventsRequest
from serving.scorer import RECIPIENT_LAYOUT
from serving.settings import ServingSettings
from tests.serving.conftest import complete

MARK = "jane.doe@example.org"
NONE = dict.fromkeys(("send_time", "churn", "content_preference"), "none")


@pytest.fixture
def world(small_world, open_service):
    return open_service(small_world.data_dir)


@pytest.fixture
def copied(small_world, tmp_path):
    return small_world.copy(tmp_path / "var")


WORDS = {
    "$ref", "title", "description", "type", "enum", "const", "properties", "required",
    "additionalProperties", "items", "anyOf", "default", "examples",
}  # fmt: skip
KINDS = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
    "number": (int, float),
}  # fmt: skip


def checked(value, schema, document, where="answer"):
    """Whether a value fits a schema of the OpenAPI document, in the words that it uses."""
    assert set(schema) <= WORDS, f"{where}: {set(schema) - WORDS}"
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        checked(value, document["components"]["schemas"][name], document, where)
    if "anyOf" in schema:
        assert sum(fits(value, option, document) for option in schema["anyOf"]) == 1, where
    if "type" in schema:
        assert isinstance(value, KINDS[schema["type"]]), where
        assert isinstance(value, bool) == (schema["type"] == "boolean"), where
    assert value in schema.get("enum", [value]), where
    assert value == schema.get("const", value), where
    if isinstance(value, dict) and "properties" in schema:
        checked_fields(value, schema, document, where)
    for item in value if isinstance(value, list) else ():
        checked(item, schema["items"], document, f"{where}[]")


def checked_fields(value, schema, document, where):
    assert set(schema.get("required", ())) <= set(value), where
    if schema.get("additionalProperties") is False:
        assert set(value) == set(schema["properties"]), where
    for name in set(value) & set(schema["properties"]):
        checked(value[name], schema["properties"][name], document, f"{where}.{name}")


def fits(value, schema, document):
    try:
        checked(value, schema, document)
    except AssertionError:
        return False
    return True


def schema_of(document, path, status="200"):
    answer = document["paths"][path]["post"]["responses"][status]
    return answer["content"]["application/json"]["schema"]


def test_a_known_recipient_is_answered_by_the_models(small_world, world):
    for key in small_world.people[:20]:
        answer = world.score(key, candidates=small_world.candidates, send_id="s")
        assert answer["fallback"] == {"used": False, "reason": "none", "parts": NONE}
        assert answer["models"] == dict.fromkeys((s.name for s in SPECS), "1")
        ranked = {row["content_id"] for row in answer["content"]["ranking"]}
        assert ranked == {item["content_id"] for item in small_world.candidates}
        assert answer["content"]["variant"] == answer["content"]["ranking"][0]["content_id"]
        assert answer["feature_age_s"] >= 0
        again = world.score(key, candidates=small_world.candidates, send_id="s")
        assert again == answer


def contents(world, small_world, sends, **more):
    body = {"recipient_key": "somebody", "candidates": small_world.candidates, **more}
    answer = world.http.post(
        "/v1/score:batch", json={"requests": [{**body, "send_id": str(n)} for n in sends]}
    )
    return [(result["content"], result["policy"]) for result in answer.json()["results"]]


def test_some_mails_explore_with_a_logged_chance_and_dry_runs_never(small_world, open_service):
    world = open_service(small_world.data_dir, epsilon=0.2)
    found = contents(world, small_world, range(600))
    drawn = [content for content, _ in found if content["explored"]]
    assert 70 < len(drawn) < 170
    assert len({content["variant"] for content in drawn}) == 6
    for content, policy in found:
        assert policy == "default@3;epsilon=0.2;epsilon_hour=0;holdout=0"
        assert content["variant"] == content["ranking"][0]["content_id"]
        best = max(row["p_click"] for row in content["ranking"])
        is_best = content["ranking"][0]["p_click"] == best
        assert content["explored"] or is_best
        assert (content["propensity"] > 0.8) == is_best
    again = open_service(small_world.data_dir, epsilon=0.2)  # as after a restart
    assert contents(again, small_world, range(600)) == found

    dry = contents(world, small_world, range(600), explore=False)
    assert {policy for _, policy in dry} == {"default@3;epsilon=0;epsilon_hour=0;holdout=0"}
    assert not any(content["explored"] or content["propensity"] < 1 for content, _ in dry)
    (order,) = {tuple(row["content_id"] for row in content["ranking"]) for content, _ in dry}
    assert order[0] in {content["variant"] for content, _ in found if not content["explored"]}
    assert world.score("somebody")["content"] == {
        "variant": "", "ranking": [], "propensity": 1.0, "explored": False,
    }  # fmt: skip


def test_a_stranger_is_answered_in_full_and_it_is_said(small_world, world):
    answer = world.score("nobody-knows-me", candidates=small_world.candidates)
    assert answer["fallback"]["reason"] == "unknown_recipient"
    assert answer["evidence_n"] == 0
    assert answer["feature_age_s"] == -1
    assert answer["reason_codes"] == []
    assert len(answer["content"]["ranking"]) == 6


def test_the_document_fits_the_answers(small_world, world):
    document = world.http.get("/openapi.json").json()
    schema = schema_of(document, "/v1/score")
    for key in ("nobody", *small_world.people[:3]):
        for more in ({}, {"candidates": small_world.candidates}):
            checked(world.score(key, **more), schema, document)
    batch = {"requests": [{"recipient_key": "a"}, {"bad": 1}]}
    answer = world.http.post("/v1/score:batch", json=batch).json()
    checked(answer, schema_of(document, "/v1/score:batch"), document)
    events = world.http.post("/v1/events", json={"events": [{}]}).json()
    checked(events, schema_of(document, "/v1/events"), document)
    for path in ("/v1/score", "/v1/score:batch", "/v1/events"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"]["$ref"].split("/")[-1] in document["components"]["schemas"]


def contents_of(document):
    """Of each operation what is asked and answered: a place, a media type and its content."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            named = {"asked": operation.get("requestBody", {}), **operation["responses"]}
            for status, told in named.items():
                for kind, content in told.get("content", {}).items():
                    yield f"{method} {path} {status}", kind, content


def test_every_answer_has_an_example_and_every_example_fits_its_schema(tmp_path):
    """What is asked is judged by what judges it; all is read again from the document's JSON."""
    document = orjson.loads(orjson.dumps(create_app(ServingSettings(data_dir=tmp_path)).openapi()))
    asked = {model.__name__: model for model in (ScoreRequest, BatchRequest, EventsRequest)}
    shown = {}
    for place, kind, content in contents_of(document):
        schema = content["schema"]
        assert "example" in content or "ValidationError" in str(schema), f"{place} {kind}"
        example = shown[place, kind] = content.get("example")
        if kind in {NDJSON, "text/plain"}:
            assert isinstance(example, str)
        elif place.endswith("asked"):
            asked[schema["$ref"].rpartition("/")[2]].model_validate(example)
        elif example is not None:
            checked(example, schema, document, place)
    score = shown["post /v1/score 200", JSON]
    complete(score)
    assert score["models"] != NONE
    assert score["recipient_key"] == shown["post /v1/score asked", JSON]["recipient_key"]
    batch = shown["post /v1/score:batch 200", JSON]["results"]
    lines = shown["post /v1/score:batch 200", NDJSON].splitlines()
    assert [orjson.loads(line) for line in lines] == batch == [score, batch[1]]
    for status in ("400", "401", "408", "503"):
        problem = shown[f"post /v1/score:batch {status}", "application/problem+json"]
        assert problem["status"] == int(status)


def test_without_models_every_part_is_a_prior_and_it_is_said(copied, open_service, tmp_path):
    (copied.data_dir / "models").rename(tmp_path / "elsewhere")
    world = open_service(copied.data_dir)
    answer = world.score(copied.people[0], candidates=copied.candidates)
    assert answer["fallback"]["reason"] == "no_model"
    assert answer["send_time"]["basis"] == "prior"
    assert set(answer["models"].values()) == {"none"}
    assert world.http.get("/readyz").json()["ready"] is True
    (tmp_path / "elsewhere").rename(copied.data_dir / "models")


def test_an_empty_directory_is_enough_to_answer(tmp_path, open_service):
    answer = open_service(tmp_path / "nothing-here").score("r", candidates=[{"content_id": "a"}])
    assert answer["fallback"]["used"]


def test_a_store_that_is_deleted_is_made_again_from_the_log(copied, open_service):
    before = open_service(copied.data_dir).score(copied.people[0])
    for file in copied.data_dir.glob("online.sqlite*"):
        file.unlink()
    after = open_service(copied.data_dir).score(copied.people[0])
    assert after["fallback"]["reason"] == "none"
    assert after["churn"]["p_churn"] == pytest.approx(before["churn"]["p_churn"], abs=1e-6)


def garbage(path):
    for file in path.parent.glob(path.name + "-*"):
        file.unlink()
    path.write_bytes(bytes(range(256)) * 4_096)


def test_a_store_of_garbage_costs_features_but_no_answer(copied, open_service):
    garbage(copied.data_dir / "online.sqlite")
    answer = open_service(copied.data_dir).score(copied.people[0], candidates=copied.candidates)
    assert answer["fallback"]["reason"] == "store_unavailable"


def test_a_store_that_becomes_garbage_or_goes_while_serving_costs_no_answer(copied, open_service):
    world = open_service(copied.data_dir)
    assert world.score(copied.people[0])["fallback"]["reason"] == "none"
    garbage(copied.data_dir / "online.sqlite")
    world.score(copied.people[0], candidates=copied.candidates)
    for file in copied.data_dir.glob("online.sqlite*"):
        file.unlink()
    world.score(copied.people[1], candidates=copied.candidates)


def store_blob(data_dir, key, blob):
    with sqlite3.connect(data_dir / "online.sqlite") as connection:
        query = "UPDATE states SET blob = ? WHERE entity = ? AND key = ?"
        assert connection.execute(query, (blob, VIEW.entity, key)).rowcount == 1
    connection.close()


def filled(state, number):
    state.slots = dict.fromkeys(state.slots, number)


CHANGES = {
    "offset": lambda state: state._set_zone(state.at + 2**50, 32_000, ""),
    "zone": lambda state: setattr(state, "zone", "No/\x00Where"),
    "infinite": lambda state: filled(state, float("inf")),
    "not a number": lambda state: filled(state, float("nan")),
    "far future": lambda state: setattr(state, "at", 2**62),
    "far past": lambda state: setattr(state, "at", -(2**62)),
}


def damages(blob):
    yield "empty", b""
    yield "cut", blob[:-3]
    yield "other layout", blob[:1] + b"\x00\x00\x00\x00" + blob[5:]
    yield "noise", bytes((byte * 7 + 13) % 256 for byte in blob)
    for name, change in CHANGES.items():
        state = unpack(blob, RECIPIENT_LAYOUT)
        change(state)
        yield name, pack(state, RECIPIENT_LAYOUT)


def test_a_damaged_state_costs_its_own_recipient_and_nobody_else(copied, open_service):
    victim, neighbour = copied.people[:2]
    with PackedStore(copied.data_dir / "online.sqlite") as store:
        (blob,) = store.get(VIEW.entity, [victim])
    world = open_service(copied.data_dir)
    sound = world.score(neighbour, candidates=copied.candidates)
    for what, bad in damages(blob):
        store_blob(copied.data_dir, victim, bad)
        body = {"candidates": copied.candidates}
        requests = [{"recipient_key": key, **body} for key in (victim, neighbour)]
        answer = world.http.post("/v1/score:batch", json={"requests": requests})
        assert answer.status_code == 200, what
        hit, other = answer.json()["results"]
        assert other["fallback"]["reason"] == "none", what
        assert other["churn"] == sound["churn"], what
        alone = world.score(victim, **body)
        assert alone["fallback"] == hit["fallback"], what
        if what in {"empty", "cut", "other layout", "noise"}:
            assert alone["fallback"]["reason"] == "state_unreadable", what


@pytest.mark.parametrize(
    "name", ["localtime", "posixrules", "Factory", "posix/Europe/Berlin", "right/Europe/Berlin"]
)
def test_a_file_beside_the_zones_is_no_zone_anywhere(world, name):
    """Where the machine has such files: a clock with leap seconds is summer's in November."""
    assert zone_of(name) is None
    answer = world.http.post("/v1/score", json={"recipient_key": "r", "timezone": name})
    assert answer.status_code == 400
    is_problem(answer, without=[name])
    event = {"event_id": "z", "type": "clicked", "recipient_key": "r", "occurred_at": 1_700_000_000}
    (refused,) = world.events(event | {"timezone": name})["rejected"]
    assert (refused["reason"], refused["field"]) == ("bad_value", "timezone")
    local = local_answer("r", {"timezone": name}, why=ClientReason.TIMEOUT, now=0)
    assert (local.send_time.tz, local.send_time.tz_source) == ("UTC", "unknown")


def test_a_batch_keeps_its_order_and_serves_the_neighbours_of_mistakes(small_world, world):
    keys = [small_world.people[n % len(small_world.people)] for n in range(1_000)]
    bad = [{}, {"recipient_key": ""}, "text", 7, None, {"recipient_key": "r", "extra": MARK}]
    requests = [
        bad[n % len(bad)] if n % 10 == 3 else {"recipient_key": key, "send_id": str(n)}
        for n, key in enumerate(keys)
    ]
    answer = world.http.post("/v1/score:batch", json={"requests": requests})
    assert answer.status_code == 200
    assert MARK not in answer.text
    results = answer.json()["results"]
    BatchAnswer.model_validate_json(answer.content, strict=True)
    assert len(results) == 1_000
    for n, (key, result) in enumerate(zip(keys, results, strict=True)):
        if n % 10 == 3:
            assert (result["status"], result["index"]) == ("invalid", n)
            assert result["errors"]
        else:
            assert (result["recipient_key"], result["send_id"]) == (key, str(n))
    for n in (0, 11, 999):
        alone = world.score(keys[n], send_id=str(n))
        assert results[n]["decision_id"] == alone["decision_id"]
        assert results[n]["churn"]["p_churn"] == pytest.approx(
            alone["churn"]["p_churn"], abs=2e-6
        )  # fmt: skip


def test_a_batch_of_more_than_a_thousand_is_refused(world):
    body = {"requests": [{"recipient_key": "r"}] * 1_001}
    answer = world.http.post("/v1/score:batch", json=body)
    assert answer.status_code == 400
    is_problem(answer)


def is_problem(answer, *, without=()):
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors", "request_id"}
    assert problem["status"] == answer.status_code
    for text in without:
        assert text not in answer.text


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([
        MARK, f"'; DROP TABLE states; -- {MARK}", f"../../etc/{MARK}", f"a\r\nX-Evil: {MARK}",
        f"\ud800{MARK}", f"\x00{MARK}", MARK * 200, 10**400, -(2**63) - 1, 1e308, f"\x1b[31m{MARK}",
    ]),
)  # fmt: skip
NAMES = st.sampled_from([
    "recipient_key", "send_id", "timezone", "window_from", "window_to", "default_at",
    "candidates", "content_id", "topics", "requests", "events", "event_id", "type", MARK, "",
])  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "recipient_key": st.just("r") | VALUES,
    "send_id": LEAVES,
    "timezone": LEAVES | st.sampled_from(["Europe", "..", "posix", "Europe/Berlin ", "localtime"]),
    "window_from": LEAVES | st.datetimes().map(str),
    "window_to": LEAVES | st.sampled_from(["2026-01-01T00:00:00+23:59", "9999-12-31", -1, 1e11]),
    "default_at": LEAVES | st.datetimes().map(str),
    "explore": LEAVES,
    "candidates": st.lists(VALUES | st.fixed_dictionaries({"content_id": LEAVES}), max_size=3),
}


def text_of(value):
    """JSON as careless senders write it: NaN, Infinity and lone surrogates stand as they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{text_of(k)}:{text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(
            c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\u{ord(c) & 0xFFFF:04x}"
            for c in value
        ) + '"'  # fmt: skip
    return {True: "true", False: "false", None: "null"}.get(value, str(value)) if (
        value is None or isinstance(value, bool)
    ) else str(value).replace("inf", "Infinity").replace("nan", "NaN")  # fmt: skip


BODIES = st.one_of(
    st.binary(max_size=60),
    VALUES.map(lambda value: text_of(value).encode()),
    st.fixed_dictionaries({}, optional=FIELDS).map(lambda value: text_of(value).encode()),
    st.just(b"[" * 100_000),
    st.just(b'{"a":' * 100_000),
    st.just(b'{"recipient_key": "a", "recipient_key": "' + MARK.encode() + b'", "x": 1}'),
    st.just(b'{"recipient_key": ' + b"9" * 5_000 + b"}"),
)
PATHS = st.sampled_from(["/v1/score", "/v1/score:batch", "/v1/events"])


@pytest.fixture(scope="module")
def fuzzed(small_world, tmp_path_factory):
    from starlette.testclient import TestClient  # noqa: PLC0415

    from serving.http.app import create_app  # noqa: PLC0415
    from serving.settings import ServingSettings  # noqa: PLC0415

    copy = small_world.copy(tmp_path_factory.mktemp("fuzz") / "var")
    settings_ = ServingSettings(data_dir=copy.data_dir, mlflow_url="")
    app = create_app(settings_, clock=lambda: small_world.now)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@settings(max_examples=400)
@given(path=PATHS, body=BODIES)
def test_no_body_is_answered_5xx_or_echoed(fuzzed, path, body):
    answer = fuzzed.post(path, content=body)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    if answer.status_code != 200:
        is_problem(answer, without=[MARK])
    elif path == "/v1/score":
        sent = orjson.loads(body)
        told = answer.json()
        assert told["recipient_key"] == sent["recipient_key"]
    assert fuzzed.post("/v1/score", json={"recipient_key": "next"}).status_code == 200


@settings(max_examples=150)
@given(st.lists(st.fixed_dictionaries({}, optional=FIELDS), max_size=3))
def test_no_item_of_a_batch_is_echoed_in_its_mistakes(fuzzed, items):
    raw = text_of({"requests": items}).encode()
    answer = fuzzed.post("/v1/score:batch", content=raw)
    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        for result in answer.json()["results"]:
            assert result["status"] == "ok" or MARK not in str(result)


def test_names_that_the_caller_made_up_are_not_repeated(world):
    for body in (
        {"recipient_key": "r", MARK: 1},
        {"recipient_key": "r", "candidates": [{"content_id": "a", MARK: 1}]},
    ):
        answer = world.http.post("/v1/score", json=body)
        assert answer.status_code == 400
        is_problem(answer, without=[MARK])
    wrong = world.http.post("/v1/score", json={"recipient_key": "r", "send_id": 7}).json()
    assert wrong["errors"][0].startswith("send_id: ")


def test_a_body_over_the_limit_is_413_and_the_service_goes_on(small_world, open_service):
    world = open_service(small_world.data_dir, max_body_bytes=10_000)
    answer = world.http.post("/v1/score", content=b"x" * 10_001)
    assert answer.status_code == 413
    is_problem(answer)
    parts = (b"y" * 1_000 for _ in range(20))  # no Content-Length
    assert world.http.post("/v1/score", content=parts).status_code == 413
    assert world.score("next")["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{MARK}", 404), ("POST", "/v2/score", 404), ("GET", "/v1/score", 405),
        ("POST", "/v1/score/", 404), ("GET", "/healthz/", 404),
    ],
)  # fmt: skip
def test_what_there_is_not_is_told_as_a_problem(world, method, path, status):
    answer = world.http.request(method, path)
    assert answer.status_code == status
    is_problem(answer, without=[MARK])


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_who_only_asks_whether_it_is_well_is_told_without_a_body(world, path):
    answer = world.http.head(path)
    assert (answer.status_code, answer.content) == (world.http.get(path).status_code, b"")


def test_who_leaves_in_the_middle_is_counted_as_such_and_told_in_a_line(
    start_process, tmp_path, eventually
):
    service = start_process(tmp_path)
    place = urlsplit(service.url)
    paths = {"/v1/score": JSON, "/v1/events": JSON, "/v1/score:batch": NDJSON}
    for path, kind in paths.items():
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
        with socket.create_connection((place.hostname, place.port)) as line:
            line.sendall(head.encode() + b'content-length: 100\r\n\r\n{"recipient')
    told = [f'opportune_request_seconds_count{{route="{path}",status="499"}} 1.0' for path in paths]
    eventually(lambda: all(line in httpx2.get(f"{service.url}/metrics").text for line in told))
    assert 'status="500"' not in httpx2.get(f"{service.url}/metrics").text
    log = service.log.read_text()
    assert log.count("a caller left in the middle") == len(paths)
    assert "Traceback" not in log


def test_metrics_hold_no_key_and_no_path_that_a_caller_made_up(small_world, world):
    for key in (*small_world.people[:5], "somebody-new"):
        world.score(key, candidates=small_world.candidates)
    for n in range(30):
        world.http.get(f"/made-up-{n}")
    page = world.http.get("/metrics")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain")
    assert 'opportune_answers_total{fallback="none",model="churn"} 5.0' in page.text
    assert 'opportune_model_loaded{model="churn",version="1"} 1.0' in page.text
    for word in (*small_world.people, "somebody-new", "made-up", *small_world.items):
        assert f'"{word}"' not in page.text
        assert "made-up" not in page.text
    counts = [line for line in page.text.splitlines() if "request_seconds_count{" in line]
    assert {line.rsplit(" ", 1)[0] for line in counts} == {
        'opportune_request_seconds_count{route="/v1/score",status="200"}',
        'opportune_request_seconds_count{route="other",status="404"}',
    }
