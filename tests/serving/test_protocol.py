"""What lies on the wire: one version of HTTP, whatever is offered; keys in paths as they are."""

import json
import socket
from http.client import HTTPResponse
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from tests.serving.conftest import starting

BODY = json.dumps({"recipient_key": "r"}).encode()
# What Java's own client says with each first call (java.net.http, which asks for HTTP/2).
H2C = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
)
WEBSOCKET = (
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LAST = b"Connection: upgrade, close\r\nUpgrade: h2c\r\n"
SIZED = b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with starting() as start:
        yield urlsplit(start(tmp_path_factory.mktemp("var")).url)


@pytest.fixture
def line(url):
    with socket.create_connection((url.hostname, url.port), timeout=10) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield opened


def asked(line, raw, *, piece=100_000):
    """The answer to a request whose bytes are sent in pieces."""
    for begin in range(0, len(raw), piece):
        line.sendall(raw[begin : begin + piece])
    answer = HTTPResponse(line)
    answer.begin()
    return answer, json.loads(answer.read())


@pytest.mark.parametrize("piece", [100_000, 60, 1], ids=["at once", "in pieces", "byte by byte"])
@pytest.mark.parametrize("body", [SIZED, CHUNKED], ids=["sized", "chunked"])
@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_answered_in_this_one(line, offer, body, piece):
    for _ in range(2):  # the connection stays what it was
        answer, told = asked(line, HEAD + offer + body, piece=piece)
        assert (answer.status, told["recipient_key"]) == (200, "r")
    answer, told = asked(line, HEAD + SIZED)
    assert (answer.status, told["recipient_key"]) == (200, "r")


def test_who_offers_and_wants_to_close_is_let_go(line):
    answer, told = asked(line, HEAD + LAST + SIZED)
    assert (answer.status, told["recipient_key"]) == (200, "r")
    assert answer.getheader("connection") == "close"
    assert line.recv(1) == b""


def test_an_offer_without_a_body_is_a_request_like_any_other(line):
    raw = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + H2C + b"\r\n"
    assert [asked(line, raw)[0].status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "key", ["a\nb", "x", "x/export", "x/export/export", "a%2Fb", "50%", "a//b", "/a/", "ü?#;="]
)
def test_a_key_in_a_path_is_just_a_key(url, key):
    """Even where it looks like the path of something else that is held about somebody else."""
    base, path = f"http://{url.netloc}", quote(key, safe="")
    event = {"event_id": f"e-{path}", "type": "clicked", "recipient_key": key,
             "occurred_at": 1_770_000_000}  # fmt: skip
    assert httpx2.post(f"{base}/v1/events", json={"events": [event]}).json()["accepted"] == 1
    seen = httpx2.get(f"{base}/v1/recipients/{path}").json()
    held = httpx2.get(f"{base}/v1/recipients/{path}/export").json()
    assert httpx2.get(f"{base}/v1/render/{path}").json()["recipient_key"] == key
    assert (seen["recipient_key"], len(seen["events"])) == (key, 1)
    assert held["recipient_key"] == key
    assert httpx2.get(f"{base}/inspect/{path}").status_code == 200
    assert httpx2.delete(f"{base}/v1/recipients/{path}").status_code == 200
    assert httpx2.get(f"{base}/v1/recipients/{path}").status_code == 404
