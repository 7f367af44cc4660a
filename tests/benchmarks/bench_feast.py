"""Ten thousand reads one after the other: is the last as fast as the first?

    python -m tests.benchmarks.bench_feast

In: one recipient's state by the packed store, its state and its features by Feast's own
`get_online_features`, warm, in one process, SQLite. Out: making states, HTTP, models. Printed are
the medians of the first and of the last thousand reads and their ratio: Feast had a fault that
made each read slower than the one before it.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from features.definitions.recipient import VIEW
from features.feast_store import FeastStore
from features.layout import layout_of
from features.packed import PackedStore
from features.packing import pack
from features.state import State

READS, PART, PEOPLE = 10_000, 1_000, 500


def filled(store: PackedStore, now: int) -> None:
    rows = []
    for n in range(PEOPLE):
        state = State(at=now, seen=n + 1, newest=now, slots=dict.fromkeys(range(40), 1.5))
        rows.append((f"r{n}", state.seen, now, pack(state, layout_of(VIEW))))
    store.put(VIEW.entity, rows)


def timed(read: Callable[[str], Any]) -> list[float]:
    took = []
    for n in range(READS):
        begun = time.perf_counter()
        answer = read(f"r{n * 37 % PEOPLE}")
        took.append(time.perf_counter() - begun)
        assert answer  # a fast wrong answer is no result
    return took


def main() -> None:
    now = round(time.time() * 1_000_000)
    table = Table("what", "first 1,000 (ms)", "last 1,000 (ms)", "ratio", "p99 of the last (ms)")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own deprecations are not ours to fix
        root = Path(name)
        feast = FeastStore(root / "feast", online=root / "online.sqlite")
        feast.apply()
        with PackedStore(root / "online.sqlite") as store:
            filled(store, now)
            inner = feast._feast
            values = [f"recipient_now:{feature}" for feature in VIEW.names]

            def features(key: str) -> Any:
                row = {"recipient_key": key, "as_of": now}
                answer = inner.get_online_features(features=values, entity_rows=[row]).to_dict()
                return answer[VIEW.names[0]][0] is not None

            reads: dict[str, Callable[[str], Any]] = {
                "packed store, one state": lambda key: store.get(VIEW.entity, [key], now=now)[0],
                "Feast, one state": lambda key: feast.online_states(VIEW.entity, [key])[0],
                f"Feast, {len(VIEW.names)} features": features,
            }
            for what, read in reads.items():
                took = timed(read)
                first, last = took[:PART], sorted(took[-PART:])
                ratio = median(last) / median(first)
                figures = (
                    median(first) * 1e3,
                    median(last) * 1e3,
                    ratio,
                    last[PART * 99 // 100] * 1e3,
                )
                table.add_row(what, *(f"{figure:.3f}" for figure in figures))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
