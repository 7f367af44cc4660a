"""Labels corrected in bulk and by hand: the same as at the door, once, and by whoever may."""

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.errors import FileUnusableError
from features.events.actors import Label, meaning_of, standing
from features.events.intake import Intake
from features.events.log import EventLog
from features.events.schema import SECOND_US, TARGET, Actor, Event, parse_event
from features.events.schema import EventType as E
from pipelines import relabel as bulk
from pipelines.cli import app
from pipelines.relabel import relabel, relabel_by_hand
from pipelines.verdicts import Verdict, read_verdicts

DATA = Path(__file__).parents[1] / "data" / "actors"
AT = 1_760_000_000 * SECOND_US
LATER = AT + 10**13


def scenarios() -> list[Event]:
    files = sorted(DATA.glob("*.ndjson"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [parse_event(json.loads(line)["event"], received_at=LATER) for line in lines]


def meanings(log):
    corrections, acted = {}, []
    for _, one in log.read(limit=100_000):
        if one.type is E.RELABELLED:
            corrections.setdefault(one.properties[TARGET], []).append(one)
        elif one.type in (E.OPENED, E.CLICKED):
            acted.append(one)
    found = {one.event_id: standing(one, corrections.get(one.event_id, ())) for one in acted}
    return {event_id: meaning_of(now.label) for event_id, now in found.items()}


def quiet(_: str) -> None:
    return


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("COLUMNS", "120")
    with EventLog(tmp_path / "var" / "events") as opened:
        yield opened


def command(*words: object):
    return CliRunner().invoke(app, ["relabel", *map(str, words)])


@pytest.mark.parametrize("bucket_rows", [200_000, 40])
def test_a_log_from_before_the_rules_ends_with_the_labels_of_the_door(
    log, tmp_path, monkeypatch, bucket_rows
):
    monkeypatch.setattr(bulk, "BUCKET_ROWS", bucket_rows)
    log.append(scenarios())
    done = relabel(log, is_dry=False, step=quiet)
    with EventLog(tmp_path / "other") as other:
        Intake(other).take(scenarios())
        assert meanings(log) == meanings(other)
    assert done.looked_at == len(meanings(log))
    head = log.head()
    assert done.n_changed == head - len(scenarios()) > 50
    again = relabel(log, is_dry=False, step=quiet)
    assert (again.n_changed, log.head()) == (0, head)


def test_a_log_that_was_filled_through_the_door_needs_no_correction(log):
    Intake(log).take(scenarios())
    assert relabel(log, is_dry=False, step=quiet).changes == {}


def test_a_dry_run_counts_what_a_run_does_and_stores_nothing(log):
    log.append(scenarios())
    told = relabel(log, is_dry=True, step=quiet)
    assert log.head() == len(scenarios())
    assert relabel(log, is_dry=False, step=quiet).changes == told.changes
    assert told.changes["agent_privacy_proxy", "human", "unknown"] > 0
    assert told.changes["within_180s", "human", "human"] > 0


def test_a_correction_in_bulk_is_dated_when_its_evidence_was_complete(log):
    log.append([one._replace(received_at=one.occurred_at) for one in scenarios()])
    relabel(log, is_dry=False, step=quiet)
    stored = [one for _, one in log.read(limit=10_000)]
    by_id = {one.event_id: one for one in stored}
    told = [one for one in stored if one.type is E.RELABELLED]
    for one in told:
        after = one.occurred_at - by_id[one.properties[TARGET]].occurred_at
        assert 0 <= after <= 60 * SECOND_US
        assert one.received_at == one.occurred_at
    assert len(told) > 50


def test_what_a_person_corrected_meanwhile_is_left_alone(log, monkeypatch):
    """Between reading the log and writing to it another process may correct the same event."""
    log.append(scenarios())
    target = next(one for one in scenarios() if one.device.startswith("Barracuda"))
    human = Verdict(target.event_id, Label(Actor.HUMAN, ("confirmed",)))
    revise = bulk._revise

    def later(intake, targets, decide, done, *, is_dry):
        monkeypatch.setattr(bulk, "_revise", revise)
        relabel_by_hand(log, [human], decided_at=LATER, is_dry=False)
        revise(intake, targets, decide, done, is_dry=is_dry)

    monkeypatch.setattr(bulk, "_revise", later)
    relabel(log, is_dry=False, step=quiet)
    assert meanings(log)[target.event_id] == (Actor.HUMAN, False)


def test_a_person_s_word_holds_and_may_be_taken_back(log):
    Intake(log).take(scenarios())
    target = next(k for k, (actor, _) in meanings(log).items() if actor is Actor.MACHINE)
    for n, actor in enumerate([Actor.HUMAN, Actor.MACHINE, Actor.HUMAN, Actor.UNKNOWN]):
        verdict = Verdict(target, Label(actor, ("confirmed", "asked")))
        for n_changed in (1, 0):
            done = relabel_by_hand(log, [verdict], decided_at=LATER + n, is_dry=False)
            assert done.n_changed == n_changed
        assert meanings(log)[target] == (actor, False)
        assert relabel(log, is_dry=False, step=quiet).changes == {}


def test_a_person_s_word_on_what_the_rules_said_too_keeps_the_rules_away(log):
    """Confirming a label is a correction as well: nothing may change it later."""
    Intake(log).take([Event("c", E.CLICKED, "r", AT, AT, message_key="m", url="u")])
    human = Verdict("c", Label(Actor.HUMAN, ("confirmed",)))
    assert relabel_by_hand(log, [human], decided_at=LATER, is_dry=False).n_changed == 1
    Intake(log).take([Event("d", E.DELIVERED, "r", AT - 1, LATER, message_key="m")])
    assert meanings(log) == {"c": (Actor.HUMAN, False)}


def test_the_command_shows_what_changes_and_then_that_nothing_is_left(log):
    log.append(scenarios())
    shown = [command("--dry-run"), command(), command()]
    assert [one.exit_code for one in shown] == [0, 0, 0]
    assert "Labels that would change" in shown[0].stdout
    assert "agent_scanner" in shown[0].stdout
    assert (
        shown[0].stdout.split("change")[1].splitlines()[1:-1]
        == (shown[1].stdout.split("changed")[1].splitlines()[1:-1])
    )
    assert "All labels stay: 196 opens and clicks looked at." in shown[2].stdout


def test_the_command_takes_a_persons_file_and_names_unknown_events(log, tmp_path):
    Intake(log).take(scenarios())
    wrong = next(one for one in scenarios() if one.recipient_key.startswith("waits"))
    wish = next(one for one in scenarios() if one.type is E.UNSUBSCRIBED)
    clicks = [f"{wrong.recipient_key}-{n}" for n in (1, 2)]
    file = tmp_path / "mine.csv"
    rows = [
        *(f"{one},human,she told us" for one in clicks),
        f"{wish.event_id},machine,",
        "x,human,",
    ]
    file.write_text("\n".join(["event_id,actor,reason", *rows]))
    before = log.head()
    assert command("--from", file, "--dry-run").exit_code == 1
    assert log.head() == before
    outcome = command("--from", file)
    assert outcome.exit_code == 1
    assert "2 unknown event ids" in outcome.stderr
    assert f"no open or click in the log: {wish.event_id}" in outcome.stderr
    found = meanings(log)
    assert [found[one] for one in clicks] == [(Actor.HUMAN, False)] * 2
    told = [one for _, one in log.read(after=before)]
    assert Counter(one.actor_reasons for one in told) == {("confirmed", "she told us"): 2}
    assert wish.event_id not in {one.properties[TARGET] for one in told}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event_id,reason\na,b\n", "no column actor"),
        ("", "no column actor"),
        ("event_id,actor\na,robot\n", "line 2: event_id 'a' with actor 'robot'"),
        ("event_id,actor\n,human\n", "line 2: event_id ''"),
        ('event_id,actor\n"a,human\n', "CSV"),
        ("event_id,actor\n\xff,human\n", "UTF-8"),
    ],
)
def test_a_file_that_is_wrong_is_refused_whole_with_the_line(tmp_path, log, text, said):
    file = tmp_path / "f.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileUnusableError, match=said):
        read_verdicts(file)
    outcome = command("--from", file)
    assert (outcome.exit_code, outcome.stderr.count("\n")) == (2, 1)
    assert log.head() == 0


def test_a_file_of_a_spreadsheet_is_read(tmp_path):
    file = tmp_path / "f.csv"
    file.write_bytes(b'\xef\xbb\xbfactor,event_id,note\r\nmachine," a ",x\r\n')
    assert read_verdicts(file) == [Verdict("a", Label(Actor.MACHINE, ("confirmed",)))]


def test_the_commands_of_the_page_on_events_run(tmp_path):
    root = DATA.parents[2]
    blocks = re.findall(r"```sh\n(.*?)```", (root / "docs/events.md").read_text(), re.DOTALL)
    assert "opportune relabel --dry-run" in "".join(blocks)
    path = f"{root / '.venv' / 'bin'}:{os.environ['PATH']}"
    own = {k: v for k, v in os.environ.items() if not k.startswith("OPPORTUNE_")}
    done = subprocess.run(
        ["bash", "-euc", "".join(blocks)], cwd=tmp_path, env={**own, "PATH": path}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All labels stay" in done.stdout
