"""Schemathesis on the routes that take events or tell them: all is answered as described."""

import json
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from features.events.esp import ADAPTERS
from features.events.log import EventLog
from serving.http.app import create_app
from serving.settings import ServingSettings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FUZZ = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def service(data_dir):
    told = {"webhook_secrets": {"mailgun": ["s3cret"]}, "key_secret": "pepper" * 8}
    app = create_app(ServingSettings(data_dir=data_dir, **told))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def api(service):
    return schemathesis.openapi.from_dict(service.get("/openapi.json").json())


def checked(service, case, **more):
    """What the service answers, proven to be what its document describes."""
    told = case.as_transport_kwargs(base_url="http://testserver")
    told["content"] = told.pop("data", None)
    known = {"method", "url", "headers", "params", "json", "content"}
    sent = {name: value for name, value in (told | more).items() if name in known}
    answer = service.request(**sent)
    case.validate_response(answer, checks=CHECKS)
    return answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_whatever_is_sent_as_events_is_answered_as_described(service, api, mode):
    statuses = Counter()

    @FUZZ
    @given(case=api["/v1/events"]["POST"].as_strategy(generation_mode=mode))
    def law(case):
        answer = checked(service, case)
        statuses[answer.status_code] += 1
        if answer.status_code == 200:
            told = answer.json()
            taken = told["accepted"] + told["duplicate"] + len(told["rejected"])
            assert taken == len(case.body["events"])

    law()
    assert statuses[200 if mode is GenerationMode.POSITIVE else 400] > 20


@pytest.mark.parametrize("provider", [*ADAPTERS, "nobody"])
def test_whatever_is_sent_as_a_webhook_is_refused_as_described(service, api, provider):
    operation, statuses = api["/v1/webhooks/{provider}"]["POST"], Counter()

    @FUZZ
    @given(case=operation.as_strategy(), body=st.binary(max_size=200) | JSON)
    def law(case, body):
        case.path_parameters = {"provider": provider}
        answer = checked(service, case, content=body)
        statuses[answer.status_code] += 1

    law()
    # Nothing of it is signed; Mailgun is told to give up where it is configured.
    assert set(statuses) == {406 if provider == "mailgun" else 403}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_whoever_is_looked_at_is_told_or_unknown_as_described(service, api, mode):
    event = {"event_id": "i", "type": "clicked", "recipient_key": "known", "occurred_at": 1.7e9}
    assert service.post("/v1/events", json={"events": [event]}).status_code == 200
    operation, statuses = api["/v1/recipients/{recipient_key}"]["GET"], Counter()

    @FUZZ
    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    def law(case, is_known):
        if is_known:
            case.path_parameters = {"recipient_key": "known"}
        statuses[checked(service, case).status_code] += 1

    law()
    assert statuses.keys() == {200, 404}
    checked(service, api["/v1/models"]["GET"].Case())


def test_after_all_of_it_the_log_holds_what_was_accepted_and_nothing_else(service, api, data_dir):
    event = {
        "event_id": "after", "type": "clicked", "recipient_key": "r", "occurred_at": 1_700_000_000
    }  # fmt: skip
    case = api["/v1/events"]["POST"].Case(body={"events": [event]}, media_type="application/json")
    assert checked(service, case).json()["accepted"] == 1
    with EventLog(data_dir / "events") as log:
        assert "after" in {event.event_id for _, event in log.read(limit=10**6)}
