"""Runs the service under uvicorn with the settings the stack was measured with."""

import logging

import uvicorn

from serving.clock import Clock, system_clock
from serving.http.app import create_app
from serving.settings import ServingSettings


def serve(settings: ServingSettings, *, clock: Clock = system_clock) -> None:
    """Serve until a signal ends it; open requests are finished first."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    uvicorn.run(
        create_app(settings, clock=clock),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        server_header=False,
    )


def main() -> None:
    """Serve with the settings of the environment."""
    serve(ServingSettings())
