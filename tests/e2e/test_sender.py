"""The example sender from end to end: a campaign planned, rendered, sent, and told back."""

import email
import json
import subprocess
import sys
from email.policy import default
from pathlib import Path

import pytest

from features.events.log import EventLog
from tests.serving.conftest import starting
from tests.serving.test_client import closed_port

SENDER = Path(__file__).parents[2] / "examples/sender/sender.py"


@pytest.fixture(scope="module")
def world(small_world, tmp_path_factory):
    return small_world.copy(tmp_path_factory.mktemp("sender") / "var")


def sent(world, url, outbox):
    """The mails in an outbox after a campaign, by recipient, and what the program says."""
    done = subprocess.run(
        [
            sys.executable, SENDER, "--url", url, "--log", world.data_dir / "world.ndjson",
            "--outbox", outbox,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mails = [
        email.message_from_bytes(file.read_bytes(), policy=default) for file in outbox.glob("*.eml")
    ]
    return {mail["To"].removesuffix("@mail.example"): mail for mail in mails}, done.stdout


def everybody(world):
    with (world.data_dir / "world.ndjson").open() as lines:
        return {json.loads(line)["recipient_key"] for line in lines}


def stored(world):
    with EventLog(world.data_dir / "events") as log:
        return [event for _, event in log.read(limit=10**6) if event.send_id == "spring-24"]


def test_everybody_gets_a_mail_at_an_hour_of_their_own_and_what_came_of_it_is_stored(
    world, tmp_path
):
    with starting() as start:
        process = start(world.data_dir)
        mails, said = sent(world, process.url, tmp_path / "outbox")
        events = stored(world)
        again, _ = sent(world, process.url, tmp_path / "outbox")
    assert mails.keys() == everybody(world)
    assert len({mail["X-Send-At"][11:13] for mail in mails.values()}) > 3
    assert all("shop.example/item-" in mail.get_content() for mail in mails.values())
    assert "none " in said
    assert "client_" not in said
    delivered = {event.recipient_key: event for event in events if event.type == "delivered"}
    assert delivered.keys() == mails.keys()
    assert all(event.message_key == mails[key]["X-Decision"] for key, event in delivered.items())
    assert 0 < sum(event.type == "clicked" for event in events) < len(mails)
    assert f"{len(events)} stored, 0 already there" in said
    decisions = [mail["X-Decision"] for mail in mails.values()]
    assert decisions == [again[key]["X-Decision"] for key in mails], "it is the same campaign"
    assert len([one for one in stored(world) if one.type == "delivered"]) == len(mails)


def test_without_the_service_the_mails_go_out_at_the_senders_hour_and_events_are_kept(
    world, tmp_path
):
    with closed_port() as (_, url):
        mails, said = sent(world, url, tmp_path / "outbox")
    assert mails.keys() == everybody(world)
    assert {mail["X-Send-At"][11:] for mail in mails.values()} == {"09:00:00+00:00"}
    assert f"client_unreachable {len(mails)}" in said
    kept = json.loads((tmp_path / "outbox/events.json").read_text())
    assert len({event["recipient_key"] for event in kept}) == len(mails)
