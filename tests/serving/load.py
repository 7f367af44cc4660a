"""A sender: a process that calls at a steady pace over connections kept open, whatever comes back.

A call that is due while its connection still waits for an answer leaves right after it.
"""

import http.client
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import orjson

from serving.http.answer_schemas import ScoreAnswer
from tests.serving.asking import LATE_ANSWERS, bodies_of, kept_from_the_cpu_s, metric

PER_S = 200
LATE = 0.001  # of all calls may be
CONNECTIONS = 16
KEYS = set(ScoreAnswer.model_fields)


@dataclass
class Told:
    """What came of the calls."""

    seconds: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    not_200: list[Any] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    n_closed: int = 0  # connections that the service ended with `Connection: close`
    n_refused: int = 0  # by nobody listening: the call was never sent

    @property
    def n(self) -> int:
        return len(self.seconds) + len(self.incomplete)


class Sender:
    """Calls `/v1/score` from its start until it is stopped, or the service has said goodbye."""

    def __init__(self, url: str, bodies: list[dict[str, Any]], *, per_s: float) -> None:
        context = get_context("spawn")
        self._stop = context.Event()
        self._going = context.Event()
        self._told = context.SimpleQueue()
        raw = [orjson.dumps(body) for body in bodies]
        self._child = context.Process(
            target=_send, args=(url, raw, per_s, self._going, self._stop, self._told), daemon=True
        )
        self._child.start()
        assert self._going.wait(30)

    def stop(self) -> Told:
        self._stop.set()
        return self.result()

    def result(self) -> Told:
        """When it has ended by itself."""
        told: Told = self._told.get()
        self._child.join(20)
        return told


def _send(url, bodies, per_s, going, stop, queue) -> None:
    told = Told()
    begins = time.monotonic() + 0.2
    lines = [
        Thread(target=_line, args=(url, bodies, begins, per_s, first, stop, told))
        for first in range(CONNECTIONS)
    ]
    for line in lines:
        line.start()
    going.set()
    for line in lines:
        line.join()
    queue.put(told)


def _line(url, bodies, begins, per_s, first, stop, told) -> None:
    """Every sixteenth call, over one connection; ends when the service closes it."""
    place = urlsplit(url)
    http_ = http.client.HTTPConnection(place.hostname, place.port, timeout=15)
    number = first
    while not stop.is_set():
        due = begins + number / per_s
        time.sleep(max(due - time.monotonic(), 0.0))
        try:
            http_.connect() if http_.sock is None else None
        except OSError:
            told.n_refused += 1
            return
        if _call(http_, bodies[number % len(bodies)], told):
            return
        number += CONNECTIONS


def _call(http_, body, told) -> bool:
    """Whether the connection was closed, as it should be, after a complete answer."""
    sent = time.monotonic()
    try:
        http_.request("POST", "/v1/score", body, {"content-type": "application/json"})
        answer = http_.getresponse()
        text = answer.read()
        took = time.monotonic() - sent
        if answer.status != 200:
            told.not_200.append((answer.status, text[:200]))
        raw = orjson.loads(text)
        if answer.status == 200 and (set(raw) != KEYS or b"null" in text):
            told.incomplete.append(f"keys: {sorted(raw)}")
            return False
        told.seconds.append(took)
        told.reasons[raw["fallback"]["reason"] if answer.status == 200 else "none"] += 1
    except Exception as error:  # noqa: BLE001  whatever it is, the mail is lost
        told.incomplete.append(repr(error))
        http_.close()
        return False
    is_closed = answer.getheader("connection", "") == "close"
    told.n_closed += is_closed
    return is_closed


@contextmanager
def under_load(service, world, *, late=LATE):
    """A second of load before what happens in the block and half of one after; harms nobody.

    Calls that come while others of the machine have the processor may be late.
    """
    n_late, waited_s = metric(service, LATE_ANSWERS), kept_from_the_cpu_s(service)
    sender = Sender(service.url, bodies_of(world), per_s=PER_S)
    time.sleep(1)
    yield
    time.sleep(0.5)
    told = sender.stop()
    n_late = metric(service, LATE_ANSWERS) - n_late
    waited_s = kept_from_the_cpu_s(service) - waited_s
    assert told.not_200 == []
    assert told.incomplete == []
    assert n_late <= late * told.n + PER_S * waited_s, (n_late, waited_s, told.n, told.reasons)
    assert max(told.seconds) <= 5.0
