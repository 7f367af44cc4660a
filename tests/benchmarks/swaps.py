"""Champions swapped while the service answers: no call fails, no answer mixes versions."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

import orjson

from models.registry import ModelFolder
from tests.benchmarks.http_load import Load, first, load

MODEL, VERSIONS = "churn", ("2", "1")
WARM = 0.25  # of the swaps, before memory is judged
NEAR = 1e-4  # what features change by in minutes; versions differ by more
WAIT_S = 20.0


@dataclass(frozen=True)
class Swapped:
    """What came of it: wrong answers are in `load`; memory at the begin and at the end, warm."""

    load: Load
    first_mb: float
    last_mb: float


def swap_under_load(
    url: str,
    bodies: list[bytes],
    folder: ModelFolder,
    rss_mb: Callable[[], float],
    *,
    times: int,
) -> Swapped:
    """Swap one model between two versions while four connections ask for scores.

    An answer is wrong if its churn is not that of the version it names.
    """
    expected: dict[tuple[str, str], float] = {}
    for version in VERSIONS:
        _point(url, bodies, folder, version)

        def keep(answer: bytes, version: str = version) -> bool:
            told = orjson.loads(answer)
            expected[version, told["recipient_key"]] = told["churn"]["p_churn"]
            return bool(told["models"][MODEL] == version)

        assert not load(url, bodies, connections=1, going=first(len(bodies)), is_right=keep).wrong
    before, after = ({k: p for (v, k), p in expected.items() if v == one} for one in VERSIONS)
    assert any(abs(before[key] - after[key]) > 10 * NEAR for key in before)

    def is_whole(answer: bytes) -> bool:
        told = orjson.loads(answer)
        wanted = expected[told["models"][MODEL], told["recipient_key"]]
        return abs(told["churn"]["p_churn"] - wanted) < NEAR and not told["fallback"]["used"]

    is_over, found = threading.Event(), []

    def ask() -> None:
        def going(_number: int) -> bool:
            return not is_over.is_set()

        found.append(load(url, bodies, connections=4, going=going, is_right=is_whole))

    asking = threading.Thread(target=ask)
    asking.start()
    sizes = []
    try:
        for version in islice(cycle(VERSIONS), times):
            _point(url, bodies, folder, version)
            sizes.append(rss_mb())
    finally:
        is_over.set()
        asking.join()
    warm = sizes[round(WARM * times) :]
    part = max(len(warm) // 4, 1)
    return Swapped(found[0], median(warm[:part]), median(warm[-part:]))


def _point(url: str, bodies: list[bytes], folder: ModelFolder, version: str) -> None:
    """Make a version the champion and wait until it answers."""
    folder.point(MODEL, version)
    wanted = f'"{MODEL}":"{version}"'.encode()
    until = time.monotonic() + WAIT_S
    while load(
        url, bodies[:1], connections=1, going=first(1), is_right=lambda got: wanted in got
    ).wrong:
        assert time.monotonic() < until, f"{MODEL} {version} was not taken"
