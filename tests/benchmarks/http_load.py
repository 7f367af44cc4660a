"""A cheap load: raw HTTP/1.1 over connections kept open, each with its next call as soon as it can.

It costs some 30 us a call, so that one core can saturate a service on the other.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
Check = Callable[[bytes], bool]


@dataclass
class Load:
    """What came of the calls: seconds of each in the order of their ends, and what was wrong."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def n(self) -> int:
        return len(self.seconds)

    @property
    def per_s(self) -> float:
        return self.n / self.wall_s


def lasting(seconds: float) -> Callable[[int], bool]:
    """For a time that begins now."""
    until = time.perf_counter() + seconds
    return lambda _number: time.perf_counter() < until


def first(calls: int) -> Callable[[int], bool]:
    """So many calls."""
    return lambda number: number < calls


def requests_of(url: str, bodies: Sequence[bytes]) -> list[bytes]:
    """Whole requests, ready to be sent."""
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json"
    return [f"{head}\r\ncontent-length: {len(b)}\r\n\r\n".encode() + b for b in bodies]


def load(
    url: str,
    bodies: Sequence[bytes],
    *,
    connections: int,
    going: Callable[[int], bool],
    is_right: Check = bool,
) -> Load:
    """Call over so many connections as long as it is going.

    Args:
        going: Told the number of the next call: whether it is made.
        is_right: Told the body of each answer of 200; every other answer is wrong.
    """
    place, told = urlsplit(url), Load()
    requests = requests_of(url, bodies)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        numbers = count()
        lines = []
        for _ in range(connections):
            line = _Line(requests, numbers, going, is_right, told, loop.create_future())
            await loop.create_connection(lambda line=line: line, place.hostname, place.port)
            lines.append(line)
        await asyncio.gather(*(line.over for line in lines))

    begun = time.perf_counter()
    asyncio.run(run())
    told.wall_s = time.perf_counter() - begun
    assert told.n, f"{url}: nothing was answered"
    return told


class _Line(asyncio.Protocol):
    """One connection; a call leaves when the answer before it is complete."""

    def __init__(self, requests, numbers, going, is_right, told, over) -> None:
        self._requests, self._numbers = requests, numbers
        self._going, self._is_right = going, is_right
        self._told, self.over = told, over
        self._got, self._whole = bytearray(), 0
        self._sent = 0.0

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._next()

    def connection_lost(self, error) -> None:
        if not self.over.done():
            self.over.set_exception(error or ConnectionError("the service closed the connection"))

    def data_received(self, data) -> None:
        self._got += data
        if not self._whole:
            end = self._got.find(_END)
            if end < 0:
                return
            head = bytes(self._got[:end]).lower()
            at = head.index(_LENGTH) + len(_LENGTH)  # chunked answers are nothing for this load
            self._whole = end + len(_END) + int(head[at:].split(b"\r\n", 1)[0])
            self._body_at = end + len(_END)
        if len(self._got) < self._whole:
            return
        self._told.seconds.append(time.perf_counter() - self._sent)
        body = bytes(self._got[self._body_at :])
        if self._got[9:12] != b"200" or not self._is_right(body):
            self._told.wrong.append(body)
        self._got.clear()
        self._whole = 0
        self._next()

    def _next(self) -> None:
        number = next(self._numbers)
        if not self._going(number):
            self.over.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._requests[number % len(self._requests)])
