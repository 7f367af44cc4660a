"""The client: the service's own answers, and complete ones whatever the other side does."""

import asyncio
import logging
import random
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from serving.client import Answer, AsyncClient, Client, ClientReason, asynchronous
from serving.client.calls import TAKES_ROOM
from serving.client.local import local_answer
from serving.decision import Hold
from serving.errors import EventsNotStoredError
from serving.holding import HoldReason
from serving.http.answer_schemas import ScoreAnswer
from serving.http.request_schemas import ScoreRequest
from serving.http.schemas import EventsAnswer
from serving.keys import KeyFile, Scope
from serving.throttle import takes_room
from tests.serving.conftest import complete, starting

KEY = "opp_01234567_" + "s3cret" * 8
NOW = 1_770_000_000_000_000
ASK = {"send_id": "spring", "candidates": ["b", {"content_id": "a", "topics": ["t"]}]}


@pytest.fixture(scope="module")
def service(small_world, tmp_path_factory):
    with starting() as start:
        yield start(small_world.copy(tmp_path_factory.mktemp("client") / "var").data_dir)


@pytest.fixture
def client(service):
    with Client(service.url, timeout_s=30) as client:
        yield client


def fields_of(model):
    """The names of a model's fields and of those inside."""
    found = set()
    for name, field in model.model_fields.items():
        found.add(name)
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= {f"{name}.{inner}" for inner in fields_of(kind)}
    return found


def test_the_clients_fields_are_the_services():
    assert fields_of(Answer) == fields_of(ScoreAnswer)
    assert fields_of(asynchronous.EventsStored) == fields_of(EventsAnswer)


def test_both_clients_tell_what_the_service_says(service, client, small_world):
    key, asked = small_world.people[0], {"candidates": small_world.candidates, "send_id": "s"}
    raw = service.score(key, **asked)
    answer = client.score(key, **asked)

    async def asynchronously():
        async with AsyncClient(service.url, timeout_s=30) as other:
            return await asyncio.gather(*(other.score(key, **asked) for _ in range(8)))

    for one in (answer, *asyncio.run(asynchronously())):
        told = one.as_dict()
        complete(told)
        assert told["fallback"]["reason"] == "none"
        for part in ("decision_id", "content", "models", "hold"):
            assert told[part] == raw[part]
    assert answer.content.variant == raw["content"]["variant"]
    with pytest.raises(ValueError, match="frozen"):
        answer.arm = "holdout"


def test_a_batch_is_answered_in_order_and_a_bad_item_by_ourselves(client, small_world, monkeypatch):
    monkeypatch.setattr(asynchronous, "MAX_BATCH", 3)
    people = small_world.people[:7]
    asks = [{"recipient_key": key, "send_id": "s"} for key in people]
    asks[4] = asks[4] | {"timezone": "Nowhere/Else"}
    answers = client.score_batch(asks)
    assert [answer.recipient_key for answer in answers] == people
    reasons = [answer.fallback.reason for answer in answers]
    assert reasons.pop(4) == ClientReason.REFUSED
    assert set(reasons) == {"none"}
    assert client.score_batch([]) == []


def test_an_hour_that_is_full_stays_full_over_several_calls(client, small_world, monkeypatch):
    monkeypatch.setattr(asynchronous, "MAX_BATCH", 3)
    asks = [{"recipient_key": key, "send_id": "s"} for key in small_world.people[:8]]
    hours = [
        answer.send_time.best_at_epoch
        for answer in client.score_batch(asks, throttle={"per_hour": 1})
    ]
    assert len(set(hours)) == len(hours) == 8


def test_an_hour_that_others_wait_for_is_full_over_several_calls(client, small_world, monkeypatch):
    monkeypatch.setattr(asynchronous, "MAX_BATCH", 3)
    hour = time.time() // 3_600 * 3_600 + 3_600
    start, end = (datetime.fromtimestamp(at, UTC) for at in (hour, hour + 3_599))
    window = {"window_from": start, "window_to": end}
    asks = [{"recipient_key": key, "send_id": "w", **window} for key in small_world.people[:8]]
    answers = client.score_batch(asks, throttle={"per_hour": 1})
    assert [one.hold.reason for one in answers].count("no_allowed_hour") == 7
    assert len({one.send_time.best_at_epoch // 3_600 for one in answers}) == 8


def test_a_mail_takes_room_for_the_client_as_it_does_for_the_service():
    decided = {reason.value: SimpleNamespace(hold=Hold(reason, 0, 0.0)) for reason in HoldReason}
    assert {reason for reason, made in decided.items() if takes_room(made)} == TAKES_ROOM


def test_events_are_stored_once_and_what_is_wrong_with_one_is_told(client, monkeypatch):
    monkeypatch.setattr(asynchronous, "MAX_EVENTS", 2)
    events = [
        {"event_id": f"c{i}", "type": "clicked", "recipient_key": "r", "occurred_at": 1_700_000_000}
        for i in range(5)
    ]
    events[3] = events[3] | {"type": "sneezed"}
    first, again = client.send_events(events), client.send_events(events)
    assert (first.accepted, first.duplicate) == (4, 0)
    assert (again.accepted, again.duplicate) == (0, 4)
    assert [(one.index, one.event_id) for one in first.rejected] == [(3, "c3")]


def test_the_local_answer_is_what_the_service_says_without_models(start_process, tmp_path):
    with Client(start_process(tmp_path).url, timeout_s=30) as client:
        hour = datetime.fromtimestamp((time.time() // 3_600 + 3) * 3_600, UTC)
        asked = {**ASK, "explore": False, "timezone": "Europe/Berlin", "default_at": hour}
        theirs = client.score("r", **asked).as_dict()
    why = ClientReason.TIMEOUT
    ours = local_answer("r", asked, why=why, now=time.time_ns() // 1_000).as_dict()
    assert ours["fallback"] == {
        "used": True, "reason": why, "parts": dict.fromkeys(ours["models"], why)
    }  # fmt: skip
    assert ours["send_time"].pop("slots")[0] in theirs["send_time"].pop("slots")
    for own in ("fallback", "decision_id", "policy", "as_of"):
        assert ours.pop(own) != "" != theirs.pop(own)
    assert ours == theirs


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.datetimes() | st.sampled_from(["2026-03-29T02:30:00", "9999-12-31T23:59-12:00", "../UTC"])
)  # fmt: skip
ODD = SCALARS | st.lists(SCALARS | st.dictionaries(st.text(), SCALARS, max_size=2), max_size=3)
NAMES = st.sampled_from([*ScoreRequest.model_fields])


@given(key=st.text(), asked=st.dictionaries(NAMES, ODD))
def test_whatever_is_asked_the_local_answer_is_complete(key, asked):
    answer = local_answer(key, asked, why=ClientReason.TIMEOUT, now=NOW)
    told = answer.as_dict()
    for part in (told["fallback"], told["fallback"]["parts"]):
        part |= {name: "internal" for name, value in part.items() if value == "client_timeout"}
    if "\ud800" not in str(told):
        complete(told)
    assert answer.send_time.best_at_epoch >= NOW // 1_000_000


def test_the_senders_hour_window_and_order_are_kept():
    asked = {**ASK, "default_at": "2026-03-01T10:17:00+01:00", "timezone": "Asia/Tokyo"}
    answer = local_answer("r", asked, why=ClientReason.TIMEOUT, now=NOW)
    assert answer.send_time.best_at == "2026-03-01T18:17:00+09:00"
    assert [row.content_id for row in answer.content.ranking] == ["b", "a"]
    assert answer.content.variant == "b"
    windowed = local_answer(
        "r", asked | {"window_to": "2026-03-01T08:00:00"}, why=ClientReason.TIMEOUT, now=NOW
    )
    assert windowed.send_time.best_at == "2026-03-01T17:00:00+09:00"


CLOSE = b"connection: close\r\n"  # it does: a call on a line it has left would not reach it


def json_200(body):
    content = orjson.dumps(body)
    head = b"HTTP/1.1 200 OK\r\n" + CLOSE + b"content-type: application/json\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(content) + content


GOOD = local_answer("r", ASK, why=ClientReason.TIMEOUT, now=NOW).as_dict()
WRONG = b"HTTP/1.1 500 Oops\r\n" + CLOSE + b"content-length: 4\r\n\r\n<p/>"
MOVED = b"HTTP/1.1 302 Found\r\n" + CLOSE + b"location: /v1/other\r\ncontent-length: 0\r\n\r\n"
FAULTS = {
    "silent": (None, ClientReason.TIMEOUT),
    "dripping": (b"HTTP/1.1 200 OK\r\nx-slow: " + b"z" * 10_000, ClientReason.TIMEOUT),
    "hung up": (b"", ClientReason.UNREACHABLE),
    "half": (json_200(GOOD)[:-40], ClientReason.UNREACHABLE),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", ClientReason.UNREACHABLE),
    "wrong": (WRONG, ClientReason.REFUSED),
    "moved": (MOVED, ClientReason.REFUSED),
    "no JSON": (json_200(1)[:-1] + b"<", ClientReason.UNREADABLE),
    "empty": (json_200({}), ClientReason.UNREADABLE),
    "a list": (json_200([GOOD]), ClientReason.UNREADABLE),
    "a null": (json_200(GOOD | {"arm": None}), ClientReason.UNREADABLE),
    "a hole": (json_200(GOOD | {"hold": {}}), ClientReason.UNREADABLE),
    "somebody else": (json_200(GOOD | {"recipient_key": "x"}), ClientReason.UNREADABLE),
}


class Other:
    """A server that says the same to every call, whatever HTTP thinks of it."""

    def __init__(self, reply, *, is_dripping=False):
        self.reply, self.is_dripping = reply, is_dripping
        self.calls, self.ended = [], threading.Event()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def serve(self):
        with suppress(OSError):  # the door is closed
            while True:
                threading.Thread(target=self.say, args=self.door.accept()[:1], daemon=True).start()

    def say(self, caller):
        with caller, suppress(OSError):  # the caller has gone
            self.calls.append(caller.recv(65_536))
            if self.reply is None:
                self.ended.wait()
            for at in range(len(self.reply or b"") if self.is_dripping else 0):
                caller.sendall(self.reply[at : at + 1])
                self.ended.wait(0.01)
            caller.sendall(self.reply or b"")


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_other_side_does_there_is_an_answer_in_time_and_one_call(fault, caplog):
    caplog.set_level(logging.DEBUG)
    reply, why = FAULTS[fault]
    with (
        Other(reply, is_dripping=fault == "dripping") as other,
        Client(other.url, key=KEY, timeout_s=0.25) as client,
    ):
        begun = time.monotonic()
        answer = client.score("r", **ASK)
        took_s = time.monotonic() - begun
        (batched,) = client.score_batch([{"recipient_key": "r", **ASK}])
    assert answer.fallback.reason == batched.fallback.reason == why
    assert fields_of(type(answer)) == fields_of(Answer)
    assert [row.content_id for row in answer.content.ranking] == ["b", "a"]
    assert took_s < 0.6
    assert [call.split(b" ")[1] for call in other.calls] == [b"/v1/score", b"/v1/score:batch"]
    assert f"Bearer {KEY}".encode() in other.calls[0]
    for said in (caplog.text, repr(client), repr(vars(client)), str(answer)):
        assert KEY not in said
    assert why in caplog.text


def test_a_good_answer_of_that_server_is_taken():
    reply = json_200(GOOD | {"new": {"field": 1}})
    with Other(reply) as other, Client(other.url) as client:
        answer = client.score("r", **ASK)
    assert answer.as_dict() == GOOD | {"new": {"field": 1}}


@contextmanager
def closed_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        yield door, f"http://127.0.0.1:{door.getsockname()[1]}"


def test_nobody_there_is_told_as_unreachable_and_once(caplog):
    with closed_port() as (_, url), Client(url) as client:
        answers = [client.score("r", **ASK) for _ in range(5)]
    assert {answer.fallback.reason for answer in answers} == {"client_unreachable"}
    assert len([r for r in caplog.records if r.name == "opportune.client"]) == 1
    assert len({answer.decision_id for answer in answers}) == 1


def test_a_connection_is_tried_again(monkeypatch):
    with closed_port() as (door, url), Client(url, timeout_s=10) as client:

        def somebody_comes(*_):
            threading.Thread(target=serve, daemon=True).start()
            up.wait(5)
            return 0.0

        def serve():
            door.listen()
            up.set()
            other, _ = door.accept()
            with other:
                other.recv(65_536)
                other.sendall(json_200(GOOD))

        up = threading.Event()
        monkeypatch.setattr(random, "uniform", somebody_comes)
        assert client.score("r", **ASK).as_dict() == GOOD


def test_ids_may_be_numbers(client):
    items = [7, {"content_id": 8, "topics": ["t"]}, "nine"]
    answer = client.score("r", send_id="numbers", candidates=items)
    assert not answer.fallback.reason.startswith("client_")
    assert {row.content_id for row in answer.content.ranking} == {"7", "8", "nine"}


def test_what_is_no_ask_is_answered_by_ourselves_and_its_neighbours_are_served(client):
    asks = [{"recipient_key": "r"}, None, 7, "r", {"recipient_key": 7}, {"recipient_key": "q"}]
    answers = client.score_batch(ask for ask in asks)
    assert [one.recipient_key for one in answers] == ["r", "", "", "", "7", "q"]
    is_own = [one.fallback.reason == ClientReason.REFUSED for one in answers]
    assert is_own == [False, True, True, True, True, False]


@pytest.mark.parametrize(
    "throttle", [{}, 5, {"per_hour": "x"}, {"per_hour": 1, "planned": 5}, {"planned": {"a": "b"}}]
)
def test_what_is_no_throttle_is_answered_by_ourselves(client, monkeypatch, throttle):
    monkeypatch.setattr(asynchronous, "MAX_BATCH", 1)
    asks = [{"recipient_key": "r", **ASK}, {"recipient_key": "q"}]
    answers = client.score_batch(asks, throttle=throttle)
    assert [one.fallback.reason for one in answers] == [ClientReason.REFUSED] * 2
    assert answers[0].content.variant == "b"


def test_the_local_answer_ranks_what_can_be_read_in_the_given_order():
    items = [7, None, {}, {"content_id": None}, {"content_id": 8}, True, "nine", b"ten"]
    answer = local_answer("r", {"candidates": items}, why=ClientReason.TIMEOUT, now=NOW)
    assert [row.content_id for row in answer.content.ranking] == ["7", "8", "nine"]


def test_a_closed_client_answers_by_itself_and_stores_no_events(service):
    client = Client(service.url)
    client.close()
    client.close()
    answers = [client.score("r", **ASK), *client.score_batch([{"recipient_key": "q", **ASK}])]
    with pytest.raises(EventsNotStoredError, match="make a new one"):
        client.send_events([{"event_id": "e"}])

    async def asynchronously():
        other = AsyncClient(service.url)
        await other.close()
        return await other.score("r", **ASK)

    for answer in (*answers, asyncio.run(asynchronously())):
        assert answer.fallback.reason == ClientReason.UNREACHABLE
        assert answer.content.variant == "b"


def test_events_are_tried_again_and_then_their_sender_is_told(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda *_: 0.0)
    event = {"event_id": "e", "type": "clicked", "recipient_key": "r", "occurred_at": 1}
    for reply, tries in ((b"", 3), (WRONG, 3), (MOVED, 1)):
        with (
            Other(reply) as other,
            Client(other.url, key=KEY) as client,
            pytest.raises(EventsNotStoredError, match="send the same events again") as raised,
        ):
            client.send_events([event])
        assert len(other.calls) == tries
        assert KEY not in str(raised.value)


def test_what_is_no_json_is_an_answer_too_and_a_wrong_key_names_none_of_it(service):
    with Client(service.url) as client:
        assert client.score("r", values={"engagement": object()}).fallback.used
        assert client.score_batch([{"send_id": "s"}])[0].fallback.reason == "client_refused"
    with pytest.raises(ValueError, match="whole and on one line") as raised:
        Client(service.url, key=KEY + "\n")
    assert KEY not in str(raised.value)


def test_without_a_key_that_may_the_log_says_so(start_process, tmp_path, caplog):
    key = KeyFile(tmp_path / "keys.json").add("a", frozenset({Scope.SCORE}), now=NOW)
    process = start_process(tmp_path)
    with Client(process.url, key=key, timeout_s=30) as client:
        assert client.score("r").fallback.reason == "no_model"
        with pytest.raises(EventsNotStoredError, match="status 403 this needs a key"):
            client.send_events([{"event_id": "e"}])
    with Client(process.url, timeout_s=30) as client:
        assert client.score("r").fallback.reason == "client_refused"
    assert "send a valid API key" in caplog.text
    assert httpx2.get(process.url + "/healthz").status_code == 200


def test_the_code_of_the_page_about_the_client_runs(service):
    page = (Path(__file__).parents[2] / "docs/client.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(block.replace("http://127.0.0.1:8080", service.url), names)
    assert names["stored"].accepted == 1
    assert [one.recipient_key for one in names["answers"]] == ["r_9f2", "r_77a"]


def test_every_reason_of_the_client_is_documented():
    page = (Path(__file__).parents[2] / "docs/client.md").read_text()
    assert [reason for reason in ClientReason if f"`{reason}`" not in page] == []


FORKS = """
import os, sys
from serving.client import Client
client = Client(sys.argv[1], timeout_s=30)
before = client.score("r", send_id="s")
child = os.fork()
after = client.score("r", send_id="s")
ok = before.decision_id == after.decision_id and "client" not in after.fallback.reason
if child == 0:
    os._exit(0 if ok else 1)
assert ok and os.waitpid(child, 0)[1] == 0
heavy = {"numpy", "fastapi", "starlette", "onnxruntime"} & set(sys.modules)
assert not heavy, heavy
"""


def test_it_works_on_after_a_fork_and_loads_nothing_heavy(service):
    done = subprocess.run(
        [sys.executable, "-c", FORKS, service.url], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
