"""SIGTERM under load: who was accepted is answered, connections end cleanly, the process soon."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import pytest

from features import decisions
from tests.serving.load import CONNECTIONS, Sender

TEN_S = 10.0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_process_that_ends_under_load_fails_no_call(
    small_world, start_process, tmp_path, workers
):
    data_dir = small_world.copy(tmp_path / "var").data_dir
    service = start_process(data_dir, OPPORTUNE_WORKERS=workers)
    bodies = [{"recipient_key": key} for key in small_world.people[:50]]
    for body in bodies:
        service.post("/v1/score", body)
    sender = Sender(service.url, bodies, per_s=200)
    with httpx2.Client(base_url=service.url) as http:
        assert http.get("/readyz").status_code == 200
        time.sleep(0.5)  # of load
        began = time.monotonic()
        service.child.terminate()
        told = sender.result()  # each of its lines ends when the service closes it
        service.child.wait(20)
    took = time.monotonic() - began
    assert told.not_200 == []
    assert told.incomplete == []
    assert told.n_closed == CONNECTIONS
    assert took < TEN_S
    found = decisions.read(data_dir / "decisions").collect()
    assert found.height == told.n + len(bodies)


def test_while_it_ends_it_is_not_ready_and_still_answers(small_world, start_process, tmp_path):
    data_dir = small_world.copy(tmp_path / "var").data_dir
    service = start_process(data_dir, OPPORTUNE_DRAIN_S="3")
    service.score("r")
    service.child.terminate()
    while (ready := httpx2.get(f"{service.url}/readyz")).status_code == 200:
        pass
    assert ready.status_code == 503
    assert ready.json()["ready"] is False
    answer = service.post("/v1/score", {"recipient_key": "r"})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    service.child.terminate()  # in a hurry
    began = time.monotonic()
    service.child.wait(20)
    assert time.monotonic() - began < 2.0


def test_the_last_batch_is_finished(small_world, start_process, tmp_path):
    data_dir = small_world.copy(tmp_path / "var").data_dir
    service = start_process(data_dir, OPPORTUNE_DRAIN_S="0.3")
    service.score("r")
    body = {"requests": [{"recipient_key": key} for key in (small_world.people * 4)[:1_000]]}
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(service.post, "/v1/score:batch", body)
        service.child.terminate()
        answer = batch.result()
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 1_000
    service.child.wait(20)


def one_more(service):
    """The status of a call on a connection of its own; 0 where nobody listens (any more)."""
    raw = b'{"recipient_key": "r"}'
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(raw)
    url = urlsplit(service.url)
    try:
        line = socket.create_connection((url.hostname, url.port), timeout=5)
    except ConnectionRefusedError:
        return 0
    with line, suppress(ConnectionResetError):  # it was closed at this very moment
        line.sendall(head + raw)
        return int(line.recv(65_536).split()[1])
    return 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_is_taken_in_and_left_waiting(start_process, tmp_path, workers):
    """While a last call is finished: whoever still gets a connection gets an answer."""
    service = start_process(tmp_path, OPPORTUNE_WORKERS=workers)
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname, url.port)) as last:
        last.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n{")
        assert one_more(service) == 200
        service.child.terminate()
        told = []
        while status := one_more(service):
            told.append(status)
        assert set(told) == {200}
        assert [one_more(service) for _ in range(20)] == [0] * 20
        assert service.child.poll() is None  # it is still there for the last call
        last.sendall(b'"recipient_key": "r"}')
        assert last.recv(65_536).split()[1] == b"200"
    service.child.wait(20)


def test_who_has_connected_and_not_asked_may_still_do_so(start_process, tmp_path):
    service = start_process(tmp_path, OPPORTUNE_DRAIN_S="0.3")
    url = urlsplit(service.url)
    service.child.terminate()
    with socket.create_connection((url.hostname, url.port)) as line:
        while one_more(service):
            pass
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line.recv(65_536)[:12] == b"HTTP/1.1 200"
    service.child.wait(20)
