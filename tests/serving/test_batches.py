"""Recipients line by line: any number, in order, each judged by itself, nothing kept waiting."""

import asyncio
import json
import threading

import httpx2
import pytest

from serving.http import batches
from serving.http.batches import AT_ONCE, MOST_OF_A_LINE
from serving.http.limits import NDJSON

HEADERS = {"content-type": f"{NDJSON}; charset=utf-8"}


@pytest.fixture
def world(small_world, open_service):
    return open_service(small_world.data_dir, holdout=0.0, epsilon_hour=0.0, max_body_bytes=10_000)


def asked(world, lines, **headers):
    body = b"".join(line + b"\n" for line in lines)
    return world.http.post("/v1/score:batch", content=body, headers=HEADERS | headers)


def line_of(key, **more):
    return json.dumps({"recipient_key": key, "explore": False, **more}).encode()


async def answered(world, *chunks, is_whole=True, then=None):
    """The messages of an answer, by the application itself.

    Args:
        is_whole: Nothing comes after the chunks, else something would.
        then: Is awaited where the answer ends.
    """
    scope = {
        "type": "http", "method": "POST", "path": "/v1/score:batch", "query_string": b"",
        "headers": [(b"content-type", NDJSON.encode())], "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    coming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    coming += [{"type": "http.request"}] * is_whole
    told = []

    async def receive():
        return coming.pop(0) if coming else await asyncio.Event().wait()

    async def send(message):
        told.append(message)
        if then and message["type"] == "http.response.body" and not message.get("more_body"):
            await then()

    await world.http.app(scope, receive, send)
    return told


def test_every_line_is_answered_in_order_as_a_score_of_its_own(world, small_world, is_complete):
    keys = [small_world.people[n % 50] for n in range(2 * AT_ONCE + 17)]
    more = {"candidates": small_world.candidates, "explore": False}
    answer = asked(world, [line_of(key, **more) for key in keys])
    alone = {key: world.score(key, **more) for key in set(keys)}
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(NDJSON)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert len(found) == len(keys)
    for key, one in zip(keys, found, strict=True):
        is_complete(one)
        assert one == alone[key]


def test_a_bad_line_is_refused_by_its_number_and_the_others_are_served(world, small_world):
    good = line_of(small_world.people[0])
    wrong = [
        b"not json", b"\xff\xfe", b"[]", b'{"recipient_key": ""}', line_of("r", when=1),
        b'{"recipient_key": "r", "timezone": "Mars/Olympus"}', b'{"recipient_key": NaN}',
        line_of("x" * MOST_OF_A_LINE * 2), b"[" * 100_000,
    ]  # fmt: skip
    lines = [part for bad in wrong for part in (good, b"", b"  ", bad)]
    found = [json.loads(line) for line in asked(world, lines).text.splitlines()]
    assert [one["status"] for one in found] == ["ok", "invalid"] * len(wrong)
    refused = found[1::2]
    assert [one["index"] for one in refused] == list(range(3, 4 * len(wrong), 4))
    assert all(one["errors"] for one in refused)
    assert "Mars" not in json.dumps(refused)
    assert {one["recipient_key"] for one in found[::2]} == {small_world.people[0]}


def test_a_line_that_is_too_long_is_refused_whatever_it_begins_with(world, small_world):
    good = line_of(small_world.people[0])
    longest = good.ljust(MOST_OF_A_LINE)
    lines = [longest, longest + b" ", good.ljust(MOST_OF_A_LINE * 3) + b"what follows", good]
    for end in (b"", b"\n"):
        body = b"\n".join(lines) + end
        found = world.http.post("/v1/score:batch", content=body, headers=HEADERS).text.splitlines()
        found = [json.loads(line) for line in found]
        assert [one["status"] for one in found] == ["ok", "invalid", "invalid", "ok"]
        assert [one["index"] for one in found[1:3]] == [1, 2]
        assert all("longer than 262144 bytes" in one["errors"][0] for one in found[1:3])


def test_who_has_the_end_of_an_answer_may_ask_again_at_once(world, small_world):
    line, again = line_of(small_world.people[0]), []

    async def once_more():
        again.extend(await answered(world, line))

    told = world.http.portal.call(lambda: answered(world, line, then=once_more))
    assert [told[0]["status"], again[0]["status"]] == [200, 200]


@pytest.mark.parametrize("n_chunks", [0, 1, 3])
def test_who_sends_nothing_more_keeps_nobody_out(world, small_world, monkeypatch, n_chunks):
    monkeypatch.setattr(batches, "IDLE_S", 0.05)
    chunks = [line_of(small_world.people[0]) + b"\n"] * n_chunks
    told = world.http.portal.call(lambda: answered(world, *chunks, is_whole=False))
    assert told[0]["status"] == 408
    assert (b"connection", b"close") in told[0]["headers"]
    assert "send the whole call again" in json.loads(told[1]["body"])["detail"]
    assert asked(world, [line_of(small_world.people[1])]).status_code == 200


@pytest.mark.parametrize("body", [b"", b"\n\n  \n"])
def test_nobody_asked_for_is_nobody_answered(world, body):
    answer = world.http.post("/v1/score:batch", content=body, headers=HEADERS)
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_last_line_needs_no_end(world, small_world):
    body = line_of(small_world.people[0]) + b"\n" + line_of(small_world.people[1])
    answer = world.http.post("/v1/score:batch", content=body, headers=HEADERS)
    assert len(answer.text.splitlines()) == 2


def test_it_may_be_larger_than_other_bodies_but_not_than_its_own_bound(small_world, open_service):
    world = open_service(small_world.data_dir, max_body_bytes=1_000, max_stream_bytes=20_000)
    many = [line_of(key) for key in small_world.people[:100]]
    assert sum(map(len, many)) > 4_000
    assert len(asked(world, many).text.splitlines()) == 100
    assert asked(world, many * 10).status_code == 413
    for path in ("/v1/score", "/v1/events"):  # only where lines are read
        answer = world.http.post(path, content=b"x" * 2_000, headers=HEADERS)
        assert answer.status_code == 413
    assert len(asked(world, many).text.splitlines()) == 100  # the room is free again


def test_one_at_a_time_and_scores_in_between(start_process, small_world):
    """A caller that never ends its lines holds the room, and lets it go by going."""
    service = start_process(small_world.data_dir)
    going, ended = threading.Event(), threading.Event()

    def slowly():
        yield line_of(small_world.people[0]) + b"\n"
        going.set()
        ended.wait(30)

    url = f"{service.url}/v1/score:batch"
    caller = threading.Thread(
        target=lambda: httpx2.post(url, content=slowly(), headers=HEADERS, timeout=60)
    )
    caller.start()
    assert going.wait(30)
    line = line_of(small_world.people[1])
    refused = httpx2.post(url, content=line, headers=HEADERS)
    while refused.status_code == 200:  # the first one's head is still on its way
        refused = httpx2.post(url, content=line, headers=HEADERS)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert service.score(small_world.people[1])["status"] == "ok"
    ended.set()
    caller.join(timeout=30)
    assert httpx2.post(url, content=line, headers=HEADERS).status_code == 200
