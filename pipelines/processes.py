"""Servers as child processes: started, waited for over HTTP, ended with the parent."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from features.errors import StoreUnavailableError

POLL_S = 0.1
STOP_S = 10.0


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is ended when the block is left; what it prints goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        child = subprocess.Popen(  # noqa: S603  our own command
            command,
            env=dict(environment),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            _end(child)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM unwind the block like Ctrl-C, so that children are ended too."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it has started: they are a session of their own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, how)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue
        return


def wait_until_ready(
    url: str, child: subprocess.Popen[bytes], *, seconds: float, log: Path
) -> None:
    """Return once the URL answers 200.

    Raises:
        StoreUnavailableError: The child has ended or does not answer in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        try:
            with urlopen(url, timeout=2) as answer:  # noqa: S310  a loopback address of ours
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(POLL_S)
    raise StoreUnavailableError(url, "does not answer", f"see {log}")


def free_port(wanted: int) -> int:
    """The wanted port of 127.0.0.1 if it is free, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StoreUnavailableError("127.0.0.1", "no port is free", "end some servers")
