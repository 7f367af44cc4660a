"""Turns: one at a time, the waiting ones soon, and nobody for ever."""

import fcntl
import multiprocessing
import os
import sqlite3
import time
from threading import Thread

import pytest

from features.turns import Turns, begin

SPAWN = multiprocessing.get_context("spawn")


def add_up(path, lock, times):
    """Read, think, write: without turns the sums of others are lost."""
    turns = Turns(lock, patience_s=60)
    for _ in range(times):
        with turns.taken():
            before = int(path.read_text())
            os.sched_yield()
            path.write_text(str(before + 1))


def test_processes_take_turns(tmp_path):
    path, lock = tmp_path / "sum", tmp_path / "lock"
    path.write_text("0")
    children = [SPAWN.Process(target=add_up, args=(path, lock, 200)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert path.read_text() == "600"


def test_a_holder_that_stands_still_holds_nobody_up(tmp_path):
    lock = tmp_path / "lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begun = time.monotonic()
        with Turns(lock, patience_s=0.2).taken():
            assert time.monotonic() - begun >= 0.2


def test_without_a_directory_threads_still_take_turns(tmp_path):
    turns, order = Turns(tmp_path / "not" / "there", patience_s=60), []

    def second():
        with turns.taken():
            order.append("second")

    thread = Thread(target=second)
    with turns.taken():
        thread.start()
        thread.join(0.1)  # it must not get in, however long one waits
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_writer_gives_up_after_its_time(tmp_path):
    first, second = (sqlite3.connect(tmp_path / "db", isolation_level=None) for _ in range(2))
    begin(first, timeout_s=1)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        begin(second, timeout_s=0.05)
    first.rollback()
    begin(second, timeout_s=0.05)
    second.rollback()
