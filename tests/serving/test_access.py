"""Who may call what: every scope against every route, keys that come and go, limits, headers."""

import logging
import re
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from serving.http.access import SCOPES, Access, route_class
from serving.http.app import create_app
from serving.http.request_id import NONE, REQUEST_ID, WithRequestId
from serving.keyring import KeyRing
from serving.keys import KeyFile, Scope
from serving.settings import ServingSettings

NOW = 1_770_000_000_000_000
SCORE, EVENTS = frozenset({Scope.SCORE}), frozenset({Scope.EVENTS})
OPEN = {op for op, scope in SCOPES.items() if scope is None}
ASK = {"recipient_key": "r"}
EVENT = {"event_id": "e", "type": "clicked", "recipient_key": "r", "occurred_at": 1_700_000_000}


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def service(tmp_path, keys):
    keys.add("first", frozenset({Scope.PRIVACY}), now=NOW)  # there is a key, so it is closed
    settings = ServingSettings(data_dir=tmp_path, metrics_open=False)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def ask(service, operation, **headers):
    method, path = operation.split(" ")
    return service.request(method, re.sub(r"\{\w+\}", "x", path), headers=headers)


def operations(service):
    document = service.get("/openapi.json").json()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_scope_against_every_route(service, keys):
    assert operations(service).keys() == SCOPES.keys()
    by_scope = {s: keys.add(s.value, frozenset({s}), now=NOW) for s in Scope}
    revoked, expired = (keys.add("gone", frozenset(Scope), now=NOW, expires_at=e) for e in (0, 1))
    keys.revoke(revoked.split("_")[1], now=NOW)
    unknown = f"opp_{'0' * 8}_{revoked.split('_', 2)[2]}"
    both = {"x-api-key": by_scope[Scope.SCORE]} | bearer(by_scope[Scope.EVENTS])
    refused = [
        {}, bearer(""), bearer("x"), bearer(unknown), bearer(revoked), bearer(expired), both,
        bearer(by_scope[Scope.SCORE][:-1]), {"authorization": f"Basic {by_scope[Scope.SCORE]}"},
    ]  # fmt: skip
    for operation, needed in SCOPES.items():
        if needed is None:
            usual = ask(service, operation).status_code
            for headers in (*refused, *map(bearer, by_scope.values())):
                assert ask(service, operation, **headers).status_code == usual, operation
            continue
        answers = [ask(service, operation, **headers) for headers in refused]
        assert {answer.status_code for answer in answers} == {401}, operation
        told = [{**answer.json(), "request_id": ""} for answer in answers]
        assert all(one == told[0] for one in told), "no hint which part was wrong"
        assert {answer.headers["www-authenticate"] for answer in answers} == {
            'Bearer realm="opportune"'
        }
        for scope, key in by_scope.items():
            for headers in (bearer(key), {"x-api-key": key}):
                answer = ask(service, operation, **headers)
                if scope is needed:
                    assert answer.status_code not in {401, 403}, (operation, scope)
                else:
                    assert answer.status_code == 403, (operation, scope)
                assert key not in answer.text


def test_the_document_says_which_routes_take_a_key(service):
    for operation, described in operations(service).items():
        assert ("security" in described) == (operation not in OPEN), operation
        if operation not in OPEN:
            assert {"401", "403", "429"} <= described["responses"].keys(), operation


def test_a_route_without_a_scope_stops_the_start(keys):
    router = APIRouter(route_class=route_class(Access(KeyRing(keys))))
    with pytest.raises(KeyError, match="GET /v1/forgotten"):
        router.get("/v1/forgotten")(lambda: None)


def test_without_keys_it_is_open_and_metrics_stay_open_unless_told(tmp_path, keys):
    with TestClient(create_app(ServingSettings(data_dir=tmp_path))) as client:
        assert client.post("/v1/score", json=ASK).status_code == 200
        keys.add("a", SCORE, now=NOW)
        assert client.get("/metrics").status_code == 200


def test_no_key_ends_in_the_log_or_the_metrics(service, keys, caplog):
    caplog.set_level(logging.DEBUG)
    key = keys.add("a", SCORE, now=NOW)
    headers = bearer(key) | {"x-request-id": key}
    for operation in SCOPES:
        assert key not in str(ask(service, operation, **headers).headers)
    admin = keys.add("b", frozenset({Scope.ADMIN}), now=NOW)
    page = service.get("/metrics", headers=bearer(admin)).text
    for one in (key, admin):
        for part in (one, one.split("_", 2)[2], one.split("_")[1]):
            assert part not in caplog.text
            assert part not in page


def status_of(service, key, path="/v1/score", body=ASK):
    return service.post(path, json=body, headers=bearer(key)).status_code


def test_a_key_revoked_while_the_service_runs_is_refused_within_seconds(service, keys, eventually):
    key = keys.add("a", SCORE, now=NOW)
    assert status_of(service, key) == 200
    keys.revoke(key.split("_")[1], now=NOW)
    eventually(lambda: status_of(service, key) == 401, seconds=3)


def test_a_rotation_costs_no_call(service, keys, eventually):
    old = keys.add("a", SCORE, now=NOW)
    seen = [status_of(service, old)]
    new = keys.add("a", SCORE, now=NOW)
    seen += [status_of(service, key) for key in (new, old, new)]
    keys.revoke(old.split("_")[1], now=NOW)
    eventually(lambda: [seen.append(status_of(service, new)), status_of(service, old) == 401][1])
    assert set(seen) == {200}


def test_two_processes_take_and_refuse_the_same_keys(tmp_path, start_process, keys, eventually):
    key = keys.add("a", SCORE, now=NOW)
    process = start_process(tmp_path, OPPORTUNE_WORKERS="2")

    def statuses(_=None):
        with ThreadPoolExecutor(4) as pool:  # a connection each: whoever accepts it
            calls = [
                pool.submit(httpx2.post, f"{process.url}/v1/score", json=ASK, headers=bearer(key))
                for _ in range(12)
            ]
            return {call.result().status_code for call in calls}

    assert statuses() == {200}
    assert httpx2.post(f"{process.url}/v1/score", json=ASK).status_code == 401
    keys.revoke(key.split("_")[1], now=NOW)
    eventually(lambda: statuses() == {401}, seconds=5)
    assert key not in process.log.read_text()


def test_over_its_limit_a_key_is_scored_by_the_prior_and_refused_elsewhere(
    service, keys, is_complete
):
    key = keys.add("a", SCORE | EVENTS, now=NOW, per_minute=1)
    assert status_of(service, key, "/v1/events", {"events": []}) == 200
    headers = bearer(key)
    for path, body in (("/v1/score", ASK), ("/v1/score:batch", {"requests": [ASK, ASK, {}]})):
        answer = service.post(path, json=body, headers=headers)
        assert answer.status_code == 200
        results = answer.json().get("results", [answer.json()])
        for result in results[:2]:
            is_complete(result)
            assert result["fallback"]["reason"] == "rate_limited"
            assert set(result["models"].values()) == {"none"}
        told = service.post(path, json=body, headers=headers | {"x-on-error": "status"})
        assert told.status_code == 429
    refused = service.post("/v1/events", json={"events": [EVENT]}, headers=headers)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert service.get("/healthz", headers=headers).status_code == 200


def test_every_answer_carries_its_headers_and_an_id(service):
    statuses = set()
    for operation in (*SCOPES, "GET /nowhere", "GET /docs", "PUT /v1/score"):
        answer = ask(service, operation)
        statuses.add(answer.status_code)
        check_headers(answer)
    assert statuses >= {200, 401, 403, 404, 405}


def check_headers(answer):
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answer.headers
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
    if answer.headers["content-type"] == "application/problem+json":
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_fault_of_ours_is_a_problem_with_the_headers_and_stands_in_the_log(
    tmp_path, monkeypatch, caplog
):
    def fault(*_args):
        raise RuntimeError("kaboom")

    monkeypatch.setattr("serving.http.metrics.Metrics.page", fault)
    caplog.handler.addFilter(WithRequestId())
    with TestClient(create_app(ServingSettings(data_dir=tmp_path))) as client:
        answer = client.get("/metrics", headers={"x-request-id": "mine-1"})
    assert answer.status_code == 500
    check_headers(answer)
    assert "kaboom" not in answer.text
    (record,) = [r for r in caplog.records if r.exc_info]
    assert record.request_id == "mine-1" == answer.json()["request_id"]


def test_a_sane_request_id_is_taken_over_another_is_replaced_and_not_repeated(service):
    def answered(given):
        raw = {"x-request-id": given.encode("latin-1")}
        return service.get("/healthz", headers=raw).headers["x-request-id"]

    for sane in ("a", "mailer-7.4_2", "x" * 64):
        assert answered(sane) == sane
    for odd in ("", "x" * 65, "two words", "a\tb", "ä", '"', "opp_0_1", "<b>"):
        assert len({answered(odd), answered(odd), odd}) == 3
    assert REQUEST_ID.get() == NONE
