"""Early answers: a step of the newest week is seen at once, and what is too young is not asked."""

import numpy as np
import pytest

from features.events.schema import DAY_US, HOUR_US, Actor
from tests.training.monitoring.test_outcomes import event, log
from training.monitoring.early import early_shares, early_signals
from training.monitoring.findings import Judgement
from training.monitoring.windows import Windows

WINDOWS = Windows(20_400 * DAY_US)
MAILS = 400  # a week


def told(newest: float, *, seed=1, usual=0.2):
    """Thirteen weeks of mails, a fifth of them clicked after half an hour, as many after ten."""
    rng = np.random.default_rng(seed)
    events = []
    for begin in WINDOWS.begins:
        soon = newest if begin == WINDOWS.newest else usual
        for number in range(MAILS):
            at = begin + int(rng.integers(0, WINDOWS.length_us))
            key = {"key": f"r{number}", "send": f"s{begin}", "at": at}
            events.append(event("delivered", **key))
            waits = [0.5] * (rng.random() < soon) + [10] * (rng.random() < usual)
            known = [hours for hours in waits if at + hours * HOUR_US < WINDOWS.as_of]
            events += [event("clicked", hours, **key) for hours in known]
    return early_shares(log(*events), WINDOWS)


def test_shares_are_of_the_mails_that_are_old_enough():
    found = told(0.2)
    for name, share, young in (("within the hour", 0.2, HOUR_US), ("within the day", 0.36, DAY_US)):
        n = WINDOWS.series(found, f"n {name}")
        assert n[:-1] == [MAILS] * 12
        assert n[-1] == pytest.approx(MAILS * (1 - young / WINDOWS.length_us), abs=25)
        assert WINDOWS.series(found, name) == pytest.approx([share] * 13, abs=0.09)


def test_a_quiet_week_is_fine_and_a_step_is_a_notice_and_no_alarm():
    for seed in range(6):
        assert {one.judgement for one in early_signals(told(0.2, seed=seed), WINDOWS)} == {
            Judgement.FINE
        }
    for newest in (0.02, 0.5):
        hour, day = early_signals(told(newest), WINDOWS)
        assert hour.judgement is Judgement.NOTICE
        assert not day.is_alarm
        assert hour.remedy


def test_machines_answer_nothing_and_few_mails_are_not_judged():
    mail = {"key": "a", "send": "s", "at": WINDOWS.newest}
    opened = event("opened", 0.1, actor=Actor.MACHINE, **mail)
    found = early_shares(log(event("delivered", **mail), opened), WINDOWS)
    assert WINDOWS.series(found, "within the hour")[-1] == 0.0
    assert {one.judgement for one in early_signals(found, WINDOWS)} == {Judgement.UNJUDGED}
