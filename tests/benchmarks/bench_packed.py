"""Reading states for an answer: SQLite to model inputs, warm, in one process; no HTTP, no model.

In: the read of 1 or 100 packed states, unpacking, decaying to the moment, assembling. Out: making
the store. The time per recipient stands in `extra_info`.
"""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from features.assemble import matrix, read
from features.definitions import AFFINITY
from features.definitions.recipient import VIEW
from features.events.schema import Event, EventType
from features.layout import layout_of
from features.packed import PackedStore
from features.state import State

START, HOUR_US = 1_700_000_000_000_000, 3_600_000_000
LAYOUT = layout_of(VIEW)
KINDS = [kind for kind in EventType if kind is not EventType.ERASED]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PackedStore:
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("packed")
    rows = []
    for person in range(2_000):
        state = State()
        for i in range(int(rng.integers(5, 60))):
            at = START + int(rng.integers(0, 180 * 24)) * HOUR_US
            event = Event(
                str(i), KINDS[int(rng.integers(len(KINDS)))], f"r{person}", at, at,
                content_id=f"i{rng.integers(50)}", topics=(f"t{rng.integers(9)}",),
            )  # fmt: skip
            state.apply(event, layout=LAYOUT, affinity=AFFINITY, offset=i + 1)
        rows.append((f"r{person}", state.seen, state.at, state.pack(LAYOUT)))
    opened = PackedStore(folder / "online.sqlite")
    opened.put(VIEW.entity, rows)
    return opened


def inputs(store: PackedStore, keys: list[str], at: int) -> np.ndarray:
    blobs = store.get(VIEW.entity, keys)
    states = [None if blob is None else State.unpack(blob, LAYOUT) for blob in blobs]
    return matrix(read(states, at, LAYOUT), VIEW)


@pytest.mark.benchmark(group="packed")
@pytest.mark.parametrize("n_recipients", [1, 100])
def bench_read_and_assemble(
    benchmark: BenchmarkFixture, store: PackedStore, n_recipients: int
) -> None:
    keys = [f"r{(i * 37) % 2_000}" for i in range(n_recipients)]
    at = START + 200 * 24 * HOUR_US

    rows = benchmark(inputs, store, keys, at)

    assert rows.shape == (n_recipients, len(VIEW.features))
    alone = np.concatenate([inputs(store, [key], at) for key in keys])
    np.testing.assert_array_equal(rows, alone)  # a fast wrong answer is no result
    assert (rows[:, VIEW.names.index("active_total")] > 0).any()
    if benchmark.enabled:
        per_recipient = benchmark.stats.stats.median / n_recipients
        benchmark.extra_info["us_per_recipient"] = per_recipient * 1e6
