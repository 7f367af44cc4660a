"""The protocol: when a request reached us (its bytes, not its turn), and one version of HTTP.

Scores are computed in the event loop, one after the other. A request that comes while another is
computed waits in its socket, and then in the loop, before any middleware hears of it; measured
from there a service that is minutes behind looks fast. So the moment is taken where the bytes are
read, less the time that the kernel says they have lain there.

Who offers to change to another protocol is answered in this one (RFC 9110, 7.8). Java's own client
offers HTTP/2 with each first call, and uvicorn would read such a call without its body.

Source: `tcpi_last_data_recv` of `struct tcp_info` (linux/tcp.h), in ms of the kernel's ticks.
"""

import socket
import struct
import time
from typing import Any, Final

from httptools import HttpParserUpgrade, HttpRequestParser
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ARRIVED: Final = "opportune.arrived"
_LAST_RECEIVED: Final = 52  # the field's place; 32 bits
_TICK_MS: Final = 10  # ages up to a tick of the slowest kernels are noise
_LAST_ASKS_S: Final = 0.5
_OFFERS: Final = frozenset({b"upgrade", b"http2-settings", b"connection"})


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which tells when a request's first bytes arrived and never changes it."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.parser = _Staying(self)
        self.url = b""

    def data_received(self, data: bytes) -> None:
        """Note the moment for the requests that begin in these bytes."""
        lain_s = _lain_s(self.transport.get_extra_info("socket"))
        self.app_state[ARRIVED] = time.monotonic() - lain_s  # copied into each scope that begins
        super().data_received(data)

    def shutdown(self) -> None:
        """The service ends: who has connected and not asked yet has a moment to do so."""
        if not self.url:  # of any request
            self.loop.call_later(_LAST_ASKS_S, super().shutdown)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """A request begins, but for one that comes again without its offer."""
        if not self._is_offered():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole, with the same exception."""
        if not self._is_offered():
            super().on_message_complete()

    def without_offer(self) -> bytes:
        """The head of a request that offers to change the protocol, as if it did not."""
        if not self._is_offered():
            return b""
        kept = [one for one in self.headers if one[0] not in _OFFERS]
        words = b",".join(value for name, value in self.headers if name == b"connection").lower()
        if b"close" in {word.strip() for word in words.split(b",")}:
            kept.append((b"connection", b"close"))
        first = b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)
        return first + b"".join(b"%s: %s\r\n" % one for one in kept) + b"\r\n"

    def _is_offered(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"


class _Staying(HttpRequestParser):
    """Reads a request that offers to change the protocol once more, without the offer."""

    def __init__(self, protocol: TimedProtocol) -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._told = protocol

    def feed_data(self, data: Any) -> None:
        """Raises HttpParserError for what is no HTTP."""
        try:
            super().feed_data(data)
        except HttpParserUpgrade as offer:
            if not (head := self._told.without_offer()):
                raise
            (read,) = offer.args
            self._told.parser = _Staying(self._told)  # this one may take the line for closed
            self._told.parser.feed_data(head + bytes(data[read:]))


def note_arrival(scope: Scope) -> None:
    """Give a scope its moment; under a server that tells none it is now."""
    scope[ARRIVED] = scope.get("state", {}).get(ARRIVED) or time.monotonic()


def _lain_s(connection: socket.socket | None) -> float:
    """Seconds since the newest bytes came in; zero where the kernel does not tell."""
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        told = connection.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED + struct.calcsize("=I")
        )
    except OSError:  # no TCP
        return 0.0
    (age_ms,) = struct.unpack_from("=I", told, _LAST_RECEIVED)
    return age_ms / 1_000 if age_ms > _TICK_MS else 0.0
