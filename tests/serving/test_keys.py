"""API keys: shown once, kept hashed, changed by one writer at a time, followed while serving."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from hmac import compare_digest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.buckets import Buckets
from serving.errors import KeysUnreadableError, KeyUnknownError, TooManyKeysError
from serving.keyring import KeyRing
from serving.keys import KeyFile, Scope

NOW = 1_770_000_000_000_000
SCORE = frozenset({Scope.SCORE})


class Steps:
    """Seconds that go on when the test says so."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at

    def pass_a_second(self):
        self.at += 1.0


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "var" / "keys.json")


@pytest.fixture
def steps():
    return Steps()


def key_id(key):
    return key.split("_")[1]


def test_a_key_is_kept_only_as_its_hash_in_a_file_of_ones_own(file):
    key = file.add("mailer", SCORE, now=NOW)
    assert re.fullmatch(r"opp_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", key)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert key.split("_", 2)[2] not in file.path.read_text()
    assert key.split("_", 2)[2] not in repr(file.read())
    (kept,) = file.read()
    assert (kept.id, kept.name, kept.scopes) == (key_id(key), "mailer", SCORE)
    assert kept.digest not in repr(kept)


def test_two_writers_lose_no_key(file):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: file.add(f"n{n}", SCORE, now=NOW), range(24)))
    assert {key.id for key in file.read()} == {key_id(key) for key in made}
    assert [p.name for p in file.path.parent.iterdir() if p.suffix == ".tmp"] == []


def test_a_name_has_at_most_two_live_keys(file):
    first, _ = file.add("a", SCORE, now=NOW), file.add("a", SCORE, now=NOW, expires_at=NOW + 10)
    with pytest.raises(TooManyKeysError, match=key_id(first)):
        file.add("a", SCORE, now=NOW)
    file.add("b", SCORE, now=NOW)
    file.add("a", SCORE, now=NOW + 10)  # one of them has expired
    file.revoke(key_id(first), now=NOW + 10)
    file.add("a", SCORE, now=NOW + 10)


def test_what_is_no_key_is_not_written(file):
    for name, scopes in (("", SCORE), ("a b", SCORE), ("a\n", SCORE), ("a", frozenset())):
        with pytest.raises(ValidationError):
            file.add(name, scopes, now=NOW)
    assert file.read() == ()


def test_an_unknown_id_is_an_error_that_does_not_repeat_it(file):
    key = file.add("a", SCORE, now=NOW)
    with pytest.raises(KeyUnknownError) as error:
        file.revoke(key, now=NOW)  # pasted whole
    assert key not in str(error.value)
    assert key_id(key) in str(error.value)


def test_revoking_twice_keeps_the_first_time(file):
    key = file.add("a", SCORE, now=NOW)
    file.revoke(key_id(key), now=NOW + 1)
    assert file.revoke(key_id(key), now=NOW + 2).revoked_at == NOW + 1


DAMAGES = [b"", b"{", b"[]", b'{"format": 2, "keys": []}', b'{"format": 1, "keys": [{}]}', b"\xff"]


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_file_is_not_written_over(file, content):
    file.add("a", SCORE, now=NOW)
    file.path.write_bytes(content)
    with pytest.raises(KeysUnreadableError, match=r"keys\.json.*opportune keys add"):
        file.add("b", SCORE, now=NOW)
    assert file.path.read_bytes() == content


def test_without_a_file_everything_is_open_and_it_is_said_once(file, steps, caplog):
    ring = KeyRing(file, monotonic=steps)
    for _ in range(5):
        assert ring.is_open()
        steps.pass_a_second()
    assert [record.message for record in caplog.records if "open to everybody" in record.message]
    assert len(caplog.records) == 1


def test_changes_hold_within_a_second_and_a_new_key_at_once(file, steps):
    ring = KeyRing(file, monotonic=steps)
    old = file.add("a", SCORE, now=NOW).encode()
    assert ring.find(old, now=NOW) is not None
    steps.pass_a_second()
    assert not ring.is_open()
    new = file.add("a", SCORE, now=NOW).encode()
    assert ring.find(new, now=NOW).id == key_id(new.decode())
    file.revoke(key_id(old.decode()), now=NOW)
    steps.pass_a_second()
    assert not ring.is_open()
    assert ring.find(old, now=NOW) is None
    assert ring.find(new, now=NOW) is not None
    file.revoke(key_id(new.decode()), now=NOW)
    steps.pass_a_second()
    assert not ring.is_open(), "a service whose last key is revoked is closed"


@pytest.mark.parametrize("content", [*DAMAGES, None])
def test_a_file_damaged_or_gone_leaves_the_last_good_keys_and_it_is_said(
    file, steps, caplog, content
):
    key = file.add("a", SCORE, now=NOW).encode()
    ring, good = KeyRing(file, monotonic=steps), file.path.read_bytes()
    caplog.clear()
    if content is None:
        file.path.unlink()
    else:
        file.path.write_bytes(content)
    for _ in range(3):
        steps.pass_a_second()
        assert not ring.is_open()
        assert ring.find(key, now=NOW) is not None
        assert ring.find(b"opp_00000000_", now=NOW) is None
    assert len(caplog.records) == 1
    assert "what was read before holds" in caplog.text
    file.path.write_bytes(good)
    file.revoke(key_id(key.decode()), now=NOW)
    steps.pass_a_second()
    assert not ring.is_open()
    assert ring.find(key, now=NOW) is None


def test_a_service_that_starts_over_a_damaged_file_is_closed_until_it_is_put_right(
    file, steps, caplog
):
    key, good = file.add("a", SCORE, now=NOW).encode(), file.path.read_bytes()
    file.path.write_bytes(good[:-9])
    ring = KeyRing(file, monotonic=steps)
    assert not ring.is_open()
    assert ring.find(key, now=NOW) is None
    assert "every call is refused" in caplog.text
    file.path.unlink()
    steps.pass_a_second()
    assert not ring.is_open(), "taking the file away must not open what was closed"
    file.path.write_bytes(good)
    assert ring.find(key, now=NOW) is not None


def test_an_open_service_is_closed_by_a_file_that_it_cannot_read(file, steps, caplog):
    ring = KeyRing(file, monotonic=steps)
    assert ring.is_open()
    key, good = file.add("a", SCORE, now=NOW).encode(), file.path.read_bytes()
    file.path.write_bytes(b"?")
    steps.pass_a_second()
    assert not ring.is_open()
    assert "every call is refused" in caplog.text
    file.path.write_bytes(good)
    assert ring.find(key, now=NOW) is not None


def test_only_the_whole_live_key_is_found(file):
    key = file.add("a", SCORE, now=NOW, expires_at=NOW + 5).encode()
    ring = KeyRing(file)
    assert ring.find(key, now=NOW + 4) is not None
    assert ring.find(key, now=NOW + 5) is None
    other = file.add("b", SCORE, now=NOW).encode()
    swapped = b"_".join([b"opp", key.split(b"_")[1], other.split(b"_", 2)[2]])
    for wrong in (b"", b"opp", b"opp__", key[:-1], key + b"A", key.upper(), swapped, b"\xff" * 99):
        assert ring.find(wrong, now=NOW) is None


def test_whatever_is_wrong_costs_one_comparison_of_hashes_in_constant_time(file, monkeypatch):
    key = file.add("a", SCORE, now=NOW).encode()
    ring, compared = KeyRing(file), []

    def seen(one, other):
        compared.append((len(one), len(other)))
        return compare_digest(one, other)

    monkeypatch.setattr("serving.keyring.compare_digest", seen)
    for wrong in (b"", b"opp", key[:-1] + b"!", b"opp_ffffffff_" + key[13:], b"x" * 500):
        compared.clear()
        assert ring.find(wrong, now=NOW) is None
        assert compared == [(64, 64)]


@given(st.integers(1, 20), st.lists(st.floats(0, 30), min_size=1, max_size=120))
def test_in_any_span_no_more_pass_than_the_limit_and_what_came_back(per_minute, gaps):
    buckets, at, passed = Buckets(), 0.0, []
    for gap in gaps:
        at += gap
        wait_s = buckets.take("k", per_minute, at=at)
        if wait_s == 0.0:
            passed.append(at)
        else:
            assert 0.0 < wait_s <= 60.0 / per_minute
    for i, start in enumerate(passed):
        for j, end in enumerate(passed[i:]):
            assert j + 1 <= per_minute * (1 + (end - start) / 60.0) + 1e-6


def test_who_waits_as_told_is_let_through_and_keys_do_not_share():
    buckets = Buckets()
    assert [buckets.take("k", 2, at=0.0) for _ in range(3)] == [0.0, 0.0, 30.0]
    assert buckets.take("other", 2, at=0.0) == 0.0
    assert buckets.take("k", 2, at=30.0) == 0.0
    assert buckets.take("k", 2, at=30.0) == 30.0
