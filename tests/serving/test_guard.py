"""A store that fails is left alone after a few failures, asked by one thread, and taken back."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.definitions.recipient import VIEW
from features.errors import StoreUnavailableError
from features.online import READ_MS, open_reader, open_store
from features.packed import PackedStore
from serving.breaker import FAILURES, Breaker
from serving.guard import GuardedStore


@given(st.lists(st.booleans(), max_size=30))
def test_a_breaker_is_open_from_some_failures_in_a_row_until_a_success(told):
    breaker = Breaker()
    for n, is_good in enumerate(told, start=1):
        changed = breaker.succeeded() if is_good else breaker.failed()
        before, after = (
            any(
                not any(told[i : i + FAILURES]) and not any(told[i:end])
                for i in range(end - FAILURES + 1)
            )
            for end in (n - 1, n)
        )
        assert breaker.is_open == after
        assert changed == (before != after)


class Asked:
    """A real store that notes which threads ask it."""

    def __init__(self, store):
        self.store = store
        self.by = []

    def get(self, entity, keys, *, now=None):
        self.by.append(threading.current_thread())
        return self.store.get(entity, keys, now=now)


@pytest.fixture
def broken(tmp_path):
    """A path at which no store can be opened until it is free."""
    path = tmp_path / "online.sqlite"
    path.mkdir()
    return path


def test_callers_are_refused_at_once_and_one_thread_finds_it_again(broken, eventually):
    opened = []
    asked = Asked(PackedStore(broken, busy_timeout_ms=READ_MS))
    guard = GuardedStore(asked, opened=lambda: opened.append(1), probe_every_s=0.02)
    for _ in range(100):
        with pytest.raises(StoreUnavailableError):
            guard.get(VIEW.entity, ["r"])
    mine = [thread for thread in asked.by if thread is threading.current_thread()]
    assert len(mine) == FAILURES
    assert opened == [1]
    eventually(lambda: len(asked.by) > FAILURES + 3)
    assert len(set(asked.by)) == 2

    broken.rmdir()
    eventually(lambda: not guard.is_open)
    assert guard.get(VIEW.entity, ["r"]) == [None]
    guard.close()
    assert not [one for one in threading.enumerate() if one.name == "opportune-probe"]


def test_it_opens_again_and_again(broken, eventually):
    opened = []
    store = PackedStore(broken, busy_timeout_ms=READ_MS)
    guard = GuardedStore(store, opened=lambda: opened.append(1), probe_every_s=0.01)
    for n in range(3):
        while not guard.is_open:
            with pytest.raises(StoreUnavailableError):
                guard.get(VIEW.entity, ["r"])
        assert len(opened) == n + 1
        broken.rmdir()
        eventually(lambda: not guard.is_open)
        store.close()
        for file in broken.parent.glob("online.sqlite*"):
            file.unlink()
        broken.mkdir()
    guard.close()


def test_a_deleted_file_is_left_for_the_new_one(tmp_path, eventually):
    """A reader that has the old file open would never see what is written from now on."""
    path = tmp_path / "online.sqlite"
    with open_store(path) as writer, open_reader(path) as reader:
        writer.put("recipient", [("r", 1, 5, b"old")])
        assert reader.get("recipient", ["r"]) == [b"old"]
        for file in tmp_path.glob("online.sqlite*"):
            file.unlink()
        with open_store(path) as other:
            other.put("recipient", [("r", 1, 5, b"new")])
        eventually(lambda: reader.get("recipient", ["r"]) == [b"new"])
        eventually(lambda: writer.get("recipient", ["r"]) == [b"new"])
        with open_store(path) as again:  # nobody has taken the new file's rows with the old one
            assert again.get("recipient", ["r"]) == [b"new"]
