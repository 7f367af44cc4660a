"""Laws of an import: the sound rows are in, each broken one is in the rejects file, once."""

import csv
import gzip
import io
import json
import time
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features.errors import FileUnusableError, MappingInvalidError
from features.events.log import EventLog
from features.events.mapping import Mapping
from features.events.schema import DAY_US
from pipelines.ingest import ingest

NOW = 1_800_000_000_000_000
N_ROWS = 3_000
FIELDS = ("event_id", "type", "recipient_key", "occurred_at", "content_id", "value")
ADDRESS = "ann.secret@example.org"
HUGE = "x" * 1_000_000


def sound(n: int) -> dict:
    at = f"2024-03-{1 + n % 28:02d}T10:00:00Z"
    return dict(zip(FIELDS, (f"e{n}", "clicked", f"r{n % 50}", at, f"c{n}", 1.5), strict=True))


# What is wrong with a row, and the reason it has to be rejected for. `bytes` are not UTF-8.
BROKEN = [
    ({"occurred_at": "2024-13-45"}, "bad_time"),
    ({"value": float("nan")}, "not_finite"),
    ({"type": "clapped"}, "unknown_type"),
    ({"event_id": HUGE}, "too_long"),
    ({"content_id": b"caf\xe9"}, "bad_encoding"),
    ({"recipient_key": None}, "missing_field"),
    ({"recipient_key": ADDRESS}, "address_as_key"),
    ({"occurred_at": "2090-01-01T00:00:00Z"}, "future_time"),
]


def rows_and_reasons() -> tuple[list[dict], dict[int, str]]:
    rows = [sound(n) for n in range(1, N_ROWS + 1)]
    reasons = {}
    for index, number in enumerate(range(50, N_ROWS, 100)):
        change, reasons[number] = BROKEN[index % len(BROKEN)]
        rows[number - 1] |= change
    return rows, reasons


def write_csv(path: Path) -> dict[int, str]:
    rows, reasons = rows_and_reasons()
    lines = [",".join(FIELDS).encode()]
    for number, row in enumerate(rows, 1):
        text = io.StringIO()
        cells = [c.decode("latin-1") if isinstance(c, bytes) else c for c in row.values()]
        csv.writer(text, lineterminator="").writerow(cells)
        lines.append(text.getvalue().encode("latin-1"))
        if number % 700 == 33:  # a cell of two lines, a short row, a long one, an open quote
            lines[-1] = lines[-1].replace(b"c" + str(number).encode(), b'"two\nlines"')
        if number % 700 in (1, 2, 3):
            damage = {1: b"e,clicked,r", 2: lines[-1] + b",more", 3: b'"' + lines[-1]}
            lines[-1] = damage[number % 700]
            reasons[number] = "unreadable_row"
    path.write_bytes(b"\r\n".join(lines) + b"\r\n")
    return reasons


def write_ndjson(path: Path) -> dict[int, str]:
    rows, reasons = rows_and_reasons()
    lines = []
    for number, row in enumerate(rows, 1):
        text = {k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in row.items()}
        lines.append(json.dumps(text, ensure_ascii=False).encode("latin-1"))
        if number % 700 in (1, 2, 3):
            lines[-1] = {1: lines[-1][:-9], 2: b"[1, 2]", 3: b"no json"}[number % 700]
            reasons[number] = "unreadable_row"
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as file:
        file.write(b"\n".join(lines))
    return reasons


def write_parquet(path: Path) -> dict[int, str]:
    rows, reasons = rows_and_reasons()
    table = {}
    for name in FIELDS[:-1]:
        cells = [row[name] for row in rows]
        binary = [c.encode() if isinstance(c, str) else c for c in cells]
        array = pa.array(binary, pa.binary())
        table[name] = pa.Array.from_buffers(pa.string(), len(array), array.buffers())
    table["value"] = pa.array([row["value"] for row in rows], pa.float64())
    pq.write_table(pa.table(table), path)
    return reasons


def run(file: Path, tmp_path: Path, mapping: Mapping | None = None, **more):
    rejects = tmp_path / "out" / "rejects.ndjson"
    with EventLog(tmp_path / "log") as log:
        summary = ingest(
            file, log=log, mapping=mapping, rejects=rejects, received_at=NOW,
            progress=lambda _: None, **more,
        )  # fmt: skip
        ids = [event.event_id for _, event in log.read(limit=1_000_000)]
    rejected = [orjson.loads(line) for line in rejects.read_bytes().splitlines()]
    return summary, ids, rejected


@pytest.mark.parametrize(
    ("name", "write"),
    [("f.csv", write_csv), ("f.ndjson", write_ndjson), ("f.ndjson.gz", write_ndjson),
     ("f.parquet", write_parquet)],
)  # fmt: skip
def test_broken_rows_are_rejected_once_for_their_reason_and_the_rest_is_in(tmp_path, name, write):
    reasons = write(tmp_path / name)
    started = time.monotonic()
    summary, ids, rejected = run(tmp_path / name, tmp_path)
    assert time.monotonic() - started < 20
    assert [(item["row"], item["reason"]) for item in rejected] == sorted(reasons.items())
    assert sorted(ids) == sorted(f"e{n}" for n in range(1, N_ROWS + 1) if n not in reasons)
    assert summary.read == N_ROWS == summary.accepted + sum(summary.rejected.values())
    assert any(HUGE in str(item["original"]) for item in rejected)
    assert any(r"caf\\xe9" in json.dumps(item["original"]) for item in rejected)
    assert all(len(found) <= 3 for found in summary.examples.values())

    again, ids_again, rejected_again = run(tmp_path / name, tmp_path)
    assert (again.accepted, again.duplicate, ids_again) == (0, summary.accepted, ids)
    assert rejected_again == rejected
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rejects.ndjson"]


@pytest.mark.parametrize(
    ("name", "write"),
    [("f.csv", write_csv), ("f.ndjson", write_ndjson), ("f.parquet", write_parquet)],
)
def test_an_address_given_as_key_is_in_no_output(tmp_path, name, write):
    write(tmp_path / name)
    summary, _, _ = run(tmp_path / name, tmp_path)
    outputs = [path for part in ("log", "out") for path in (tmp_path / part).rglob("*")]
    assert ADDRESS not in repr(summary)
    assert not any(ADDRESS.encode() in path.read_bytes() for path in outputs if path.is_file())


def test_a_hashed_address_is_in_no_output_even_of_a_rejected_row(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text(
        f'id,mail,at\n1,{ADDRESS},2024-01-01\n2,{ADDRESS},never\n3,"odd ,{ADDRESS}\n4,+49 170,x\n'
    )
    mapping = Mapping.model_validate(
        {"event_id": "id", "type": {"constant": "sent"}, "recipient_key": "mail",
         "occurred_at": "at", "hash_recipient_key": True}
    )  # fmt: skip
    summary, ids, rejected = run(file, tmp_path, mapping, key_secret="s")
    assert (ids, [item["row"] for item in rejected]) == (["1"], [2, 3, 4])
    shown = (tmp_path / "out" / "rejects.ndjson").read_text() + repr(summary)
    assert not any(part in shown for part in ("ann.secret", "+49 170"))
    assert not any(ADDRESS.encode() in path.read_bytes() for path in (tmp_path / "log").iterdir())


def test_skipped_rows_are_counted_by_condition_and_are_no_rejects(tmp_path):
    file = tmp_path / "f.csv"
    file.write_text("id,n\n" + "".join(f"{n},{n % 4}\n" for n in range(40)))
    mapping = Mapping.model_validate(
        yaml.safe_load(
            """{event_id: id, type: {constant: sent}, recipient_key: id,
            occurred_at: {column: id, format: "%d"},
            keep: [{column: n, above: 0}, {column: n, below: 3}]}"""
        )
    )
    summary, ids, rejected = run(file, tmp_path, mapping)
    assert dict(summary.skipped) == {"n > 0": 10, "n < 3": 10}
    assert (ids, len(rejected), summary.read) == ([], 20, 40)  # the year 1900 is a unit mistake


def test_other_encodings_and_delimiters_are_read_as_the_mapping_says(tmp_path):
    file = tmp_path / "f.csv"
    header = "id;when;was"
    file.write_bytes(f"{header}\n1;2024-01-01;Käse\n".encode("cp1252"))
    mapping = Mapping.model_validate(
        {"event_id": "id", "type": {"constant": "sent"}, "recipient_key": "id",
         "occurred_at": "when", "content_id": "was",
         "csv": {"delimiter": ";", "encoding": "cp1252"}}
    )  # fmt: skip
    run(file, tmp_path, mapping)
    with EventLog(tmp_path / "log") as log:
        assert log.read()[0][1].content_id == "Käse"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("f.xlsx", b"x", FileUnusableError),
        ("f.csv", b"", FileUnusableError),
        ("f.csv", b"a,a\n", FileUnusableError),
        ("f.csv", "event_id,type".encode("utf-16"), FileUnusableError),
        ("f.csv", b"event_id,type\n1,sent\n", MappingInvalidError),
        ("f.ndjson", b'{"event_id": 1}\n', MappingInvalidError),
        ("f.ndjson.gz", b"not gzip", FileUnusableError),
        ("f.parquet", b"not parquet", FileUnusableError),
        ("f.parquet", b"", FileUnusableError),
        ("none.csv", None, FileUnusableError),
    ],
)
def test_an_unusable_file_is_an_error_before_anything_is_stored(tmp_path, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=f"{name}: .*; "):
        run(tmp_path / name, tmp_path)
    assert not (tmp_path / "log").exists()


def test_a_file_that_breaks_off_keeps_what_came_before_and_can_be_repeated(tmp_path):
    whole = gzip.compress(b"".join(orjson.dumps(sound(n)) + b"\n" for n in range(30_000)))
    file = tmp_path / "f.ndjson.gz"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileUnusableError, match="unpacked"):
        run(file, tmp_path)
    with EventLog(tmp_path / "log") as log:
        assert log.head() >= 10_000
    file.write_bytes(whole)
    summary, ids, _ = run(file, tmp_path)
    assert len(ids) == 30_000 == summary.accepted + summary.duplicate


def test_a_field_that_no_line_had_before_is_read_wherever_it_first_stands(tmp_path):
    """The columns of NDJSON are those of its first lines; a later line may have more."""
    plain = {"type": "sent", "recipient_key": "r", "occurred_at": "2024-01-02T00:00:00Z"}
    late = {"send_id": "s", "received_at": "2024-01-03T00:00:00Z", "topics": ["a"]}
    rows = [plain | {"event_id": f"e{n}"} for n in range(12_000)]
    rows += [plain | late | {"event_id": "late"}, plain | {"event_id": "odd", "colour": "red"}]
    file = tmp_path / "f.ndjson"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary, _, rejected = run(file, tmp_path)
    assert (summary.accepted, dict(summary.rejected)) == (12_001, {"unknown_field": 1})
    assert [row["row"] for row in rejected] == [12_002]
    with EventLog(tmp_path / "log") as log:
        stored = {event.event_id: event for _, event in log.read(limit=20_000)}
    assert stored["late"].send_id == "s"
    assert stored["late"].topics == ("a",)
    assert stored["late"].received_at - stored["late"].occurred_at == DAY_US
    assert stored["e0"].send_id == ""
