"""Whoever reads the log while somebody is erased is told so."""

import pytest

from features.errors import StoreUnavailableError
from features.events.forget import forget, losses_told, suppress
from features.events.log import EventLog
from features.events.schema import parse_event

AT = 1_760_000_000  # seconds


def test_a_part_that_an_erasure_took_is_told_as_that(tmp_path):
    with EventLog(tmp_path) as log:
        told = {"type": "opened", "occurred_at": AT}
        log.append(
            [
                parse_event(
                    told | {"event_id": key, "recipient_key": key}, received_at=(AT + 1) * 1_000_000
                )
                for key in ("gone", "stays")
            ]
        )
        log.compact()
        rows = log.scan()
        suppress(tmp_path, ["gone"], until=(AT + 2) * 1_000_000)
        forget(tmp_path, ["gone"])
        with pytest.raises(StoreUnavailableError, match="run it again"), losses_told(tmp_path):
            rows.collect()
        with losses_told(tmp_path):
            assert log.scan().collect()["recipient_key"].to_list() == ["stays"]


def test_another_file_that_is_missing_is_none_of_it(tmp_path):
    with pytest.raises(FileNotFoundError), losses_told(tmp_path):
        (tmp_path / "other").read_bytes()
