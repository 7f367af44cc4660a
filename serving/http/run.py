"""Runs the service under uvicorn with the settings the stack was measured with."""

import gc
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors.multiprocess import Multiprocess

from serving.clock import Clock, system_clock
from serving.http.app import create_app
from serving.http.arrival import TimedProtocol
from serving.http.request_id import WithRequestId
from serving.http.traces import tracing_of
from serving.settings import ServingSettings

SWITCH_S: Final = 0.0005
COLLECT_AFTER: Final = 20_000  # objects; a score makes a thousand, and hardly one outlives it
SHARED_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"  # its files add up what the workers count


def serve(settings: ServingSettings, *, clock: Clock = system_clock) -> None:
    """Serve until a signal ends it; open requests are finished first.

    With several workers each is a process with the settings of the environment; one that dies or
    stands still is replaced. A clock of the caller's own runs in one process.
    """
    _prepare()
    if settings.workers == 1 or clock is not system_clock:
        uvicorn.run(create_app(settings, clock=clock), **_options(settings))
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251  see `serving.__main__`
    tracing_of(settings)  # a worker that cannot begin would be replaced again and again
    with TemporaryDirectory(prefix="opportune-metrics-") as folder:
        os.environ[SHARED_METRICS] = folder  # noqa: TID251  the workers inherit it
        try:
            told = {"factory": True, "workers": settings.workers, **_options(settings)}
            config = uvicorn.Config("serving.http.run:worker", **told)
            _Watch(config, sockets=[config.bind_socket()]).run()
        finally:
            del os.environ[SHARED_METRICS]  # noqa: TID251


class _Watch(Multiprocess):
    """The process that watches the workers, and listens no longer than they do."""

    def terminate_all(self) -> None:
        """A port that it held open would take in connections that nobody answers."""
        super().terminate_all()
        for listening in self.sockets:
            listening.close()


def worker() -> FastAPI:
    """The service as one of several processes makes it."""
    _prepare()
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.join,), daemon=True).start()
    return create_app(ServingSettings(), is_worker=True)


def _end_with(parent_ends: Callable[[], object]) -> None:
    """Workers whose parent was killed would go on holding the port."""
    parent_ends()
    os.kill(os.getpid(), signal.SIGTERM)


def _prepare() -> None:
    # Batches and events are computed in threads. Each time the event loop has waited for anything
    # it asks for the interpreter back, ten times a score: 5 ms each, as Python has it, are 50.
    sys.setswitchinterval(SWITCH_S)
    # As Python has it (700), the collector walks through all of a batch hundreds of times.
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    shown = logging.StreamHandler()
    shown.addFilter(WithRequestId())
    line = "%(asctime)s %(name)s %(request_id)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=line, handlers=[shown])


def _options(settings: ServingSettings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "http": TimedProtocol,
        "access_log": False,
        "log_level": "warning",
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": 7,  # of the ten seconds that orchestrators give
        "server_header": False,
    }
