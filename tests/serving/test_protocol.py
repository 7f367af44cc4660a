"""One version of HTTP: an offer to speak another is answered in this one, and no byte is lost."""

import json
import socket
from http.client import HTTPResponse
from urllib.parse import urlsplit

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
