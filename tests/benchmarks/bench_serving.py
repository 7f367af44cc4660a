"""The service under load beside its peers, all of them in one run.

    python -m tests.benchmarks.bench_serving

One score is one recipient of 100,000, the 24 hours of the next day and 20 candidates, by three
models trained on a small simulated world; states are those of its people, again and again. Every
service is one process over SQLite, pinned to the first core; the load to the last one. Rounds take
the services in turn, so that what disturbs one disturbs all; each figure is the median of them.

* bare: FastAPI that validates a body of this shape and sends a fixed answer;
* near the limit: the same, with ready model inputs read from SQLite and the same three graphs run;
* mlflow: `mlflow models serve` of one LightGBM model, its 24 rows of inputs in the body;
* Feast + LightGBM: features through the SDK from Feast's own SQLite store, items' inputs given;
* feast serve: features alone, of one recipient.

In: HTTP, everything from the body to the answer, ours with its log of decisions and metrics. Out:
the network, and deadlines: at 64 connections they would cut the work short, so ours has none.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from pipelines.processes import free_port, wait_until_ready
from tests.benchmarks.http_load import Load, first, lasting, load
from tests.benchmarks.serving_world import Filled, fill
from tests.benchmarks.swaps import swap_under_load

N_RECIPIENTS: Final = int(os.environ.get("OPPORTUNE_BENCH_RECIPIENTS", "100000"))
ROUNDS: Final = int(os.environ.get("OPPORTUNE_BENCH_ROUNDS", "2"))
ROUND_S: Final = float(os.environ.get("OPPORTUNE_BENCH_ROUND_S", "2"))
CONNECTIONS: Final = (1, 8, 64)
BATCH: Final = 500
FLAT: Final = 10_000
SWAPS: Final = 200
SERVER_CORE, LOAD_CORE = 0, (os.cpu_count() or 1) - 1
UVICORN: Final = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log"]


@dataclass
class Service:
    """A process tree and how to call it; `cpu_us`, `p50_ms`... by connections, one a round."""

    name: str
    command: Callable[[int], list[str]]
    path: str
    bodies: list[bytes]
    is_right: Callable[[bytes], bool]
    environment: dict[str, str] = field(default_factory=dict)
    ready: str = "/docs"
    url: str = ""
    ready_s: float = 0.0
    process: psutil.Process | None = None
    rounds: dict[int, list[tuple[float, float, float, float]]] = field(default_factory=dict)
    why_not: str = ""

    def start(self, folder: Path, stack: ExitStack) -> None:
        port = free_port(0)
        log = folder / f"{self.name}.log"
        told = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "OPPORTUNE_PORT": str(port),
            "OPPORTUNE_BENCH_DIR": str(folder),
            **self.environment,
        }
        begun = time.perf_counter()
        with log.open("wb") as out:
            child = subprocess.Popen(
                self.command(port), env={**os.environ, **told}, stdout=out, stderr=out
            )
        os.sched_setaffinity(child.pid, {SERVER_CORE})
        stack.callback(_end, child)
        self.process = psutil.Process(child.pid)
        wait_until_ready(f"http://127.0.0.1:{port}{self.ready}", child, seconds=90, log=log)
        self.ready_s = time.perf_counter() - begun
        self.url = f"http://127.0.0.1:{port}{self.path}"
        told_first = load(self.url, self.bodies, connections=1, going=lasting(0.5),
                          is_right=self.is_right)  # fmt: skip
        assert not told_first.wrong, told_first.wrong[0][:300]

    def cpu_s(self) -> float:
        tree = (self.process, *self.process.children(recursive=True))
        return float(sum(t.user + t.system for t in (one.cpu_times() for one in tree)))

    def rss_mb(self) -> float:
        tree = (self.process, *self.process.children(recursive=True))
        return float(sum(one.memory_info().rss for one in tree)) / 1e6

    def measure(self, connections: int, going: Callable[[int], bool]) -> tuple[Load, float]:
        """The load and CPU microseconds of a call."""
        spent = self.cpu_s()
        told = load(
            self.url, self.bodies, connections=connections, going=going, is_right=self.is_right
        )
        assert not told.wrong, f"{self.name}: {told.wrong[0][:300]!r}"
        return told, (self.cpu_s() - spent) / told.n * 1e6

    def round(self, connections: int) -> None:
        told, cpu_us = self.measure(connections, lasting(ROUND_S))
        p50, p99 = np.percentile(np.array(told.seconds) * 1e3, [50, 99])
        self.rounds.setdefault(connections, []).append((cpu_us, float(p50), float(p99), told.per_s))

    def figure(self, which: int, connections: int) -> float:
        """The median round: CPU us (0), p50 (1) and p99 (2) in ms, calls a second (3)."""
        return median(one[which] for one in self.rounds[connections])


def _end(child: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
    child.terminate()
    child.wait(20)
    for one in psutil.wait_procs(family, timeout=5)[1]:
        one.kill()


def services(filled: Filled) -> dict[str, Service]:
    """All of them, by a short name."""

    data_dir = str(filled.folder / "data")
    patient = {
        "OPPORTUNE_DATA_DIR": data_dir,
        "OPPORTUNE_DEADLINE_MS": "60000",
        "OPPORTUNE_POLL_S": "0.1",  # for the swaps; 1 in 1,000 of a core
    }

    def peer(name: str, app: str) -> Service:
        return Service(
            name, lambda port: [*UVICORN, "--factory", f"tests.benchmarks.peers:{app}",
                                "--port", str(port)],
            "/v1/score", filled.scores, lambda answer: b'"content":[' in answer,
        )  # fmt: skip

    def mlflow(name: str, model: str, bodies: list[bytes]) -> Service:
        folder = str(filled.folder / model)
        return Service(
            name, lambda port: [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder,
                                "--env-manager", "local", "--workers", "1", "-p", str(port)],
            "/invocations", bodies, lambda answer: b'"predictions"' in answer, ready="/ping",
        )  # fmt: skip

    feast = str(filled.folder / "feast")
    return {
        "bare": peer("bare FastAPI", "bare"),
        "limit": peer("near the limit", "near_limit"),
        "ours": Service(
            "ours", lambda _: [sys.executable, "-m", "serving"], "/v1/score", filled.scores,
            lambda answer: b'"fallback":{"used":false' in answer, patient, ready="/readyz",
        ),
        "signed": mlflow("mlflow, signature", "signed", filled.frames),
        "plain": mlflow("mlflow, none", "plain", filled.inputs),
        "sdk": peer("Feast + LightGBM", "feast_lightgbm"),
        "feast": Service(
            "feast serve", lambda port: [sys.executable, "-m", "feast.cli.cli", "-c", feast,
                                         "serve", "--workers", "1", "--max-requests", "10000000",
                                         "--no-access-log", "-p", str(port)],
            "/get-online-features", filled.lookups,
            lambda answer: b'"PRESENT"' in answer, ready="/health",
        ),
    }  # fmt: skip


def batches(ours: Service, filled: Filled) -> tuple[float, float]:
    """Recipients a second, and CPU microseconds of each."""
    batch = replace(ours, url=ours.url + ":batch", bodies=filled.batches, is_right=_all_told)
    batch.process = ours.process
    told, cpu_us = batch.measure(1, first(10 * ROUNDS))
    return told.per_s * BATCH, cpu_us / BATCH


def _all_told(answer: bytes) -> bool:
    return answer.count(b'"fallback":{"used":false') == BATCH


def flat(ours: Service) -> list[tuple[float, float]]:
    """Of each thousand of scores one after the other: CPU us a call, and p99 in ms."""
    found = []
    for _ in range(FLAT // 1_000):
        told, cpu_us = ours.measure(1, first(1_000))
        found.append((cpu_us, float(np.percentile(np.array(told.seconds) * 1e3, 99))))
    return found


def of_ours(ours: Service, filled: Filled) -> Table:
    table = Table("ours alone", "measured", "target")
    table.add_row("start to ready", f"{ours.ready_s:.1f} s", "<= 3 s")
    table.add_row("memory after the load", f"{ours.rss_mb():.0f} MB", "<= 200 MB")
    per_s, cpu_us = batches(ours, filled)
    table.add_row(f"recipients a second, {BATCH} to a call", f"{per_s:,.0f}", ">= 6,000")
    table.add_row("  of a CPU second", f"{1e6 / cpu_us:,.0f}", "")
    (first_us, first_ms), *_, (last_us, last_ms) = flat(ours)
    shown = f"{first_us:,.0f} / {last_us:,.0f} us ({last_us / first_us:.2f})"
    table.add_row(f"CPU of a score, first and last 1,000 of {FLAT:,}", shown, "within 20 %")
    shown = f"{first_ms:.2f} / {last_ms:.2f} ms ({last_ms / first_ms:.2f})"
    table.add_row("p99 of the same", shown, "within 20 %")
    with ExitStack() as stack:
        still = replace(ours, name="ours, of one moment", command=_still, rounds={})
        still.start(filled.folder, stack)
        asked = filled.scores[:50]
        swapped = swap_under_load(still.url, asked, filled.models, still.rss_mb, times=SWAPS)
    wrong, n = len(swapped.load.wrong), swapped.load.n
    shown = f"{wrong} of {n:,}, {swapped.first_mb:.1f} -> {swapped.last_mb:.1f} MB"
    table.add_row(f"{SWAPS} swaps: calls gone wrong, memory", shown, "0, within 5 %")
    return table


def _still(_port: int) -> list[str]:
    """Ours at one moment: as time goes on a chance may move by more than two versions differ."""
    as_of = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    main = "from pipelines.cli import main; main()"
    return [sys.executable, "-c", main, "serve", "--as-of", as_of]


def side_by_side(found: dict[str, Service]) -> Table:
    table = Table("service", *(f"c{c}: CPU us | p50 | p99 ms | calls/s" for c in CONNECTIONS))
    for one in found.values():
        if one.why_not:
            table.add_row(one.name, one.why_not)
            continue
        cells = []
        for c in CONNECTIONS:
            cpu, p50, p99, per_s = (one.figure(which, c) for which in range(4))
            cells.append(f"{cpu:,.0f} | {p50:.2f} | {p99:.2f} | {per_s:,.0f}")
        table.add_row(one.name, *cells)
    return table


def ratios(found: dict[str, Service]) -> Table:
    """How many times more CPU a peer takes for a call, and how many more calls a second we do."""
    table = Table("beside", *(f"c{c}: CPU | calls/s" for c in CONNECTIONS), "target")
    ours = found["ours"]
    for peer, name, target in (
        ("limit", "near the limit", "CPU >= 0.83"),
        ("signed", "mlflow with a signature", "calls/s >= 10"),
        ("plain", "mlflow without", "calls/s >= 1"),
        ("sdk", "Feast + LightGBM", ""),
        ("feast", "feast serve", "calls/s >= 5"),
    ):
        other = found[peer]
        if other.why_not or ours.why_not:
            continue
        cells = []
        for c in CONNECTIONS:
            cpu = other.figure(0, c) / ours.figure(0, c)
            cells.append(f"{cpu:.2f} | {ours.figure(3, c) / other.figure(3, c):.2f}")
        table.add_row(name, *cells, target)
    return table


def main() -> None:
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        filled = fill(Path(name), n_recipients=N_RECIPIENTS, batch=BATCH)
        found = services(filled)
        for one in found.values():
            try:
                one.start(filled.folder, stack)
            except Exception as error:  # noqa: BLE001  the others go on
                one.why_not = f"did not start: {error}"
        for _ in range(ROUNDS):
            for c in CONNECTIONS:
                for one in found.values():
                    if not one.why_not:
                        one.round(c)
        console = Console(width=160)
        console.print(side_by_side(found))
        console.print(ratios(found))
        if not found["ours"].why_not:
            console.print(of_ours(found["ours"], filled))


if __name__ == "__main__":
    main()
