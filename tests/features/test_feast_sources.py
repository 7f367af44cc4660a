"""Feast's source files: whichever process writes one, everybody finds a whole one."""

import multiprocessing

import polars as pl

from features.feast_objects import make_missing_sources, objects, source_file, write_source

ROUNDS = 20


def make_all(root, meeting):
    for number in range(ROUNDS):
        folder = root / str(number)
        items = objects(folder)
        meeting.wait()
        make_missing_sources(items, folder)


def test_processes_that_make_the_same_missing_files_at_once_do_not_meet(tmp_path):
    """Every command that applies the definitions does, and two may begin together."""
    fresh = multiprocessing.get_context("spawn")
    meeting = fresh.Barrier(2, timeout=60)
    both = [fresh.Process(target=make_all, args=(tmp_path, meeting)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert list(tmp_path.rglob(".*.tmp")) == []
    assert all(len(pl.read_parquet(file)) == 0 for file in tmp_path.rglob("*.parquet"))


def test_a_view_with_rows_keeps_them(tmp_path):
    write_source(pl.DataFrame({"recipient_key": ["a"]}), "recipient_features", tmp_path)
    make_missing_sources(objects(tmp_path), tmp_path)
    kept = pl.read_parquet(source_file("recipient_features", tmp_path))
    assert kept["recipient_key"].to_list() == ["a"]
