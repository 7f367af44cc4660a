"""Asking a service in a process of its own, at little cost: the machine is busy enough."""

import http.client
import re
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import orjson

LATE_ANSWERS = "opportune_late_answers_total"


def bodies_of(world):
    return [
        {"recipient_key": key, "send_id": "s", "candidates": world.candidates[:3]}
        for key in world.people[:100]
    ]


def asked(service, path, body=None):
    """Status and text."""
    place = urlsplit(service.url)
    with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=30)) as line:
        raw = None if body is None else orjson.dumps(body)
        line.request("GET" if raw is None else "POST", path, raw)
        answer = line.getresponse()
        return answer.status, answer.read()


def until(is_so, *, seconds=60.0, told=lambda: "it did not become true in time"):
    """Ask ten times a second until it is so."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, told()
        time.sleep(0.1)


def metric(service, name):
    page = asked(service, "/metrics")[1].decode()
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


def score(service, key):
    status, text = asked(service, "/v1/score", {"recipient_key": key})
    assert status == 200
    return orjson.loads(text)


def until_reason(service, world, wanted):
    """Until the score of one who is well known has this reason."""
    seen = Counter()

    def is_wanted():
        found = score(service, world.people[0])["fallback"]
        seen[tuple(found["parts"].values())] += 1
        return found["reason"] == wanted

    until(is_wanted, told=lambda: f"never {wanted}: {seen}")


def kept_from_the_cpu_s(service):
    """How long the event loop's thread was ready to run and the machine ran others."""
    file = Path(f"/proc/{service.child.pid}/schedstat")
    return int(file.read_text().split()[1]) / 1e9
