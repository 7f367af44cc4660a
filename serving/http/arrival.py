"""When a request reached us: its bytes, not its turn.

Scores are computed in the event loop, one after the other. A request that comes while another is
computed waits in its socket, and then in the loop, before any middleware hears of it; measured
from there a service that is minutes behind looks fast. So the moment is taken where the bytes are
read, less the time that the kernel says they have lain there.

Source: `tcpi_last_data_recv` of `struct tcp_info` (linux/tcp.h), in ms of the kernel's ticks.
"""

import socket
import struct
import time
from typing import Final

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ARRIVED: Final = "opportune.arrived"
_LAST_RECEIVED: Final = 52  # the field's place; 32 bits
_TICK_MS: Final = 10  # ages up to a tick of the slowest kernels are noise


class TimedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the moment that a request's first bytes arrived."""

    def data_received(self, data: bytes) -> None:
        """Note the moment for the requests that begin in these bytes."""
        lain_s = _lain_s(self.transport.get_extra_info("socket"))
        self.app_state[ARRIVED] = time.monotonic() - lain_s  # copied into each scope that begins
        super().data_received(data)


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
