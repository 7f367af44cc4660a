"""The audit log: whole under many writers, and every way to tamper with it is found."""

import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import orjson
import pytest
from typer.testing import CliRunner

from features.audit import HEAD, LINES, Action, AuditLog, Entry, hash_of
from pipelines.cli import app
from serving.proofs import Proof, write_proof

AT = 1_700_000_000_000_000


@pytest.fixture
def folder(tmp_path):
    log = AuditLog(tmp_path / "audit")
    for n in range(6):
        log.add([Entry(Action.PROMOTED, f"churn {n}")], actor="somebody", at=AT + n)
    return tmp_path / "audit"


def lines_of(folder):
    return (folder / LINES).read_bytes().splitlines(keepends=True)


def write(folder, lines):
    (folder / LINES).write_bytes(b"".join(lines))


def changed(line, **more):
    return json.dumps(json.loads(line) | more).encode() + b"\n"


def rehashed(line, **more):
    told = json.loads(line) | more
    return orjson.dumps(told | {"hash": hash_of(told)}) + b"\n"


TAMPERED = {
    "changed": (lambda rows: [*rows[:2], changed(rows[2], actor="nobody"), *rows[3:]], 3),
    "changed with a new hash": (
        lambda rows: [*rows[:2], rehashed(rows[2], actor="nobody"), *rows[3:]], 4,
    ),
    "last one changed with a new hash": (
        lambda rows: [*rows[:5], rehashed(rows[5], actor="nobody")], 6,
    ),
    "a field more": (lambda rows: [*rows[:2], rehashed(rows[2], why=""), *rows[3:]], 3),
    "removed": (lambda rows: [*rows[:2], *rows[3:]], 3),
    "first removed": (lambda rows: rows[1:], 1),
    "moved": (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], 2),
    "doubled": (lambda rows: [*rows[:3], rows[2], *rows[3:]], 4),
    "end cut off": (lambda rows: rows[:4], 5),
    "end cut off in a line": (lambda rows: [*rows[:5], rows[5][:20]], 6),
    "emptied": (lambda rows: rows[:0], 1),
    "a key doubled": (
        lambda rows: [*rows[:2], rows[2].replace(b"{", b'{"actor":"nobody",', 1), *rows[3:]], 3,
    ),
    "a space more": (lambda rows: [*rows[:2], rows[2].replace(b":", b": ", 1), *rows[3:]], 3),
    "a space at the end": (lambda rows: [*rows[:5], rows[5][:-1] + b" \n"], 6),
    "line ends of Windows": (lambda rows: [row[:-1] + b"\r\n" for row in rows], 1),
    "a letter escaped": (
        lambda rows: [*rows[:2], rows[2].replace(b"somebody", rb"s\u006fmebody"), *rows[3:]], 3,
    ),
    "keys in another order": (
        lambda rows: [
            *rows[:2], orjson.dumps(dict(reversed(json.loads(rows[2]).items()))) + b"\n", *rows[3:],
        ], 3,
    ),
    "no JSON": (lambda rows: [*rows[:3], b"nothing\n", *rows[4:]], 4),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_tampered_with_is_found_and_the_first_bad_line_named(folder, how):
    assert AuditLog(folder).verify() == (whole := AuditLog(folder).verify())
    assert (whole.n_sound, whole.line) == (6, 0)
    tamper, line = TAMPERED[how]
    write(folder, tamper(lines_of(folder)))
    found = AuditLog(folder).verify()
    assert found.line == line, found.problem
    AuditLog(folder).add([Entry(Action.PROMOTED, "churn 7")], actor="somebody", at=AT)
    assert AuditLog(folder).verify().line, "what is added later must not hide it"


def test_without_its_head_the_log_is_not_said_to_be_whole(folder):
    (folder / HEAD).unlink()
    assert AuditLog(folder).verify().line == 1


def test_half_a_line_of_a_writer_that_was_killed_is_no_fault_and_in_nobodys_way(folder):
    with (folder / LINES).open("ab") as file:
        file.write(b'{"seq":7,"at"')
    assert AuditLog(folder).verify().n_sound == 6
    AuditLog(folder).add([Entry(Action.KEY_ADDED, "one")], actor="somebody", at=AT)
    assert AuditLog(folder).verify().n_sound == 7


def test_a_writer_killed_before_the_head_was_written_leaves_a_whole_log(folder):
    before = (folder / HEAD).read_bytes()
    AuditLog(folder).add([Entry(Action.KEY_ADDED, "one")], actor="somebody", at=AT)
    (folder / HEAD).write_bytes(before)
    assert AuditLog(folder).verify().n_sound == 7
    AuditLog(folder).add([Entry(Action.KEY_ADDED, "two")], actor="somebody", at=AT)
    assert AuditLog(folder).verify().n_sound == 8


def _add(folder, n):
    for i in range(n):
        AuditLog(folder).add([Entry(Action.ERASED, f"{os.getpid()} {i}")], actor="p", at=AT)


def test_several_processes_write_one_chain(tmp_path):
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        for done in [pool.submit(_add, tmp_path / "audit", 15) for _ in range(3)]:
            done.result()
    assert AuditLog(tmp_path / "audit").verify().n_sound == 45


def test_the_commands_verify_and_show_what_other_commands_have_done(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    run = lambda *words: CliRunner().invoke(app, list(words))  # noqa: E731
    assert run("audit", "verify").exit_code == 0
    key = run("keys", "add", "mailer", "--scope", "score").stdout.strip()
    run("keys", "revoke", key.split("_")[1])
    run("switch", "off", "churn")
    run("switch", "on", "churn")
    told = run("audit", "show").stdout
    for action in ("key_added", "key_revoked", "switched_off", "switched_on"):
        assert action in told
    assert key not in (tmp_path / "audit" / LINES).read_text()
    assert "whole" in run("audit", "verify").stdout
    write(tmp_path / "audit", lines_of(tmp_path / "audit")[:3])
    told = run("audit", "verify")
    assert told.exit_code == 1
    assert "broken at line 4" in told.stdout


def test_a_line_that_a_proof_of_an_erasure_names_may_not_be_gone_nor_another(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    verify = lambda: CliRunner().invoke(app, ["audit", "verify"])  # noqa: E731
    folder, erasures = tmp_path / "audit", tmp_path / "erasures"
    erasures.mkdir()

    def written_by(actor, n):
        shutil.rmtree(folder, ignore_errors=True)
        entries = [Entry(Action.ERASED, f"somebody {i}") for i in range(n)]
        return AuditLog(folder).add(entries, actor=actor, at=AT)

    for n in (4, 2):
        head = written_by("us", n)
        proof = Proof(
            erased_at=AT, first_at=0, tombstones=[], stores={}, is_verified=True,
            audit_seq=head.seq, audit_hash=head.hash,
        )  # fmt: skip
        write_proof(erasures, proof)
    written_by("us", 5)
    assert verify().exit_code == 0
    written_by("us", 3)  # cut back, head and all
    assert (told := verify()).exit_code == 1
    assert "broken at line 4" in told.stdout
    assert "a proof of an erasure names line 4" in told.stdout
    written_by("others", 5)
    assert (told := verify()).exit_code == 1
    assert "broken at line 2" in told.stdout
    shutil.rmtree(folder)
    assert (told := verify()).exit_code == 1
    assert "broken at line 1" in told.stdout
