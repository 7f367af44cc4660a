"""MLflow's file is whole or not there, whoever is killed or comes at the same time."""

import multiprocessing
import sqlite3
from contextlib import closing

import pytest

from models.mlflow_file import is_missing, make_database
from models.mlflow_registry import MlflowRegistry

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["models.mlflow_registry"])


def opened(uri):
    MlflowRegistry(uri).versions("churn")


def started(uri):
    process = WARM.Process(target=opened, args=(uri,))
    process.start()
    return process


def tables_in(file):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def test_who_is_killed_while_it_is_made_leaves_nothing_in_the_way(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for n_tables in (1, 30):
        process = started(uri)
        while max((tables_in(file) for file in tmp_path.glob(".*.1.tmp")), default=0) < n_tables:
            assert process.is_alive()
        process.kill()
        process.join()
        assert is_missing(uri)
    opened(uri)
    assert not is_missing(uri)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_of_several_at_once_each_finds_it_whole(tmp_path):
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    both = [started(uri) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]


@pytest.mark.parametrize("uri", ["", "http://127.0.0.1:5000", "postgresql://db/mlflow"])
def test_what_is_no_file_of_ours_is_left_alone(uri):
    assert not is_missing(uri)
    make_database(uri, lambda _: pytest.fail("nothing to make"))
