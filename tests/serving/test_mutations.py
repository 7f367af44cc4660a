"""Laws of bundles nobody would want: three hundred of them, none serves, none is noticed."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import zip_longest

import numpy as np
import pytest

from models.bundle import GOLDEN, PARITY_LIMIT, load_bundle, worst_difference
from models.registry import ModelFolder
from models.specs import BY_NAME
from tests.serving.asking import (
    LATE_ANSWERS,
    bodies_of,
    kept_from_the_cpu_s,
    metric,
    score,
    until,
)
from tests.serving.hostile import greedy, hanging, put_graph
from tests.serving.load import Sender
from tests.serving.mutations import JUDGED_BY_ITS_GRAPH, KINDS, spoilt

EACH, THROUGH_THE_SERVICE = 25, 12
GRAPHS_THROUGH_THE_SERVICE = 4  # each costs a process
HARMLESS = 3  # of three hundred may be so: a bit in a text that nothing reads
PER_S = 60
ONES = dict.fromkeys(BY_NAME, "1")

# Loads them one after the other, bounded as a trial is, and says of each why not.
JUDGE = """
import json, sys
from pathlib import Path
from models.bundle import load_bundle
from models.errors import ModelError
from serving.trial import _bound
_bound()
for line in sys.stdin:
    folder, name = json.loads(line)
    why = ""
    try:
        load_bundle(Path(folder), name=name)
    except ModelError as error:
        why = str(error)
    print(json.dumps([folder, why]), flush=True)
"""


@pytest.fixture(scope="module")
def copied(small_world, tmp_path_factory):
    return small_world.copy(tmp_path_factory.mktemp("spoilt") / "var")


@pytest.fixture(scope="module")
def folder(copied):
    return ModelFolder(copied.data_dir / "models")


@pytest.fixture(scope="module")
def bundles(folder):
    """All of them, as versions in the folder that the service follows."""
    sound = {name: folder.folder(name, "1") for name in BY_NAME}
    return list(spoilt(sound, folder.root, each=EACH, seed=7))


@pytest.fixture(scope="module")
def reasons(bundles):
    """By folder why it is refused, "" where it is not."""
    asked = "".join(json.dumps([str(one.folder), one.name]) + "\n" for one in bundles)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", JUDGE], input=asked, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-300:], done.stderr[-2_000:])
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_none_of_three_hundred_is_taken_unless_it_is_the_sound_one_in_all_it_answers(
    folder, bundles, reasons
):
    assert len(bundles) == len(reasons) >= 300
    taken = [one for one in bundles if not reasons[str(one.folder)]]
    assert {one.kind for one in taken} <= {"graph flipped"}
    assert len(taken) <= HARMLESS
    for one in taken:
        sound = load_bundle(folder.folder(one.name, "1"))
        with np.load(sound.folder / GOLDEN) as stored:
            rows = stored["rows"]
        answers = load_bundle(one.folder, name=one.name).session.run(rows)
        assert worst_difference(answers, sound.session.run(rows)) <= PARITY_LIMIT


def test_every_refusal_says_what_and_what_to_do(bundles, reasons):
    by_kind = defaultdict(set)
    for one in bundles:
        if why := reasons[str(one.folder)]:
            assert "; " in why
            assert "unknown" not in why
            by_kind[one.kind].add(why)
    assert set(by_kind) == set(KINDS)


def test_a_service_under_load_takes_none_of_them_and_nobody_notices(
    copied, folder, bundles, reasons, start_process
):
    """One after the other as champions, of all three models at once."""
    queues = defaultdict(list)
    seen = Counter()
    for one in bundles:
        seen[one.kind] += 1
        most = GRAPHS_THROUGH_THE_SERVICE if one.kind in JUDGED_BY_ITS_GRAPH else None
        if reasons[str(one.folder)] and seen[one.kind] <= (most or THROUGH_THE_SERVICE):
            queues[one.name].append(one.folder.name)
    # Twice the usual: other tests run beside.
    service = start_process(copied.data_dir, OPPORTUNE_POLL_S="0.02", OPPORTUNE_DEADLINE_MS="300")
    assert score(service, copied.people[0])["models"] == ONES
    sound = folder.folder("churn", "1")
    for version, hostile in (("hanging", hanging), ("greedy", greedy)):
        put_graph(sound, folder.folder("churn", version), hostile(BY_NAME["churn"]))
    n_late, waited_s = metric(service, LATE_ANSWERS), kept_from_the_cpu_s(service)
    sender = Sender(service.url, bodies_of(copied), per_s=PER_S)
    folder.point("churn", "hanging")  # all the others come while it is on trial
    n_refused = 0
    for versions in zip_longest(*queues.values()):
        pointed = [pair for pair in zip(queues, versions, strict=True) if pair[1] is not None]
        for name, version in pointed:
            folder.point(name, version)
        n_refused += len(pointed)
        until(lambda: metric(service, "opportune_bundles_refused_total") == n_refused)  # noqa: B023
        until(lambda: score(service, copied.people[0])["models"] == ONES)  # priors while it is busy
    folder.point("churn", "greedy")
    until(lambda: metric(service, "opportune_bundles_refused_total") == n_refused + 1)
    told = sender.stop()
    assert sum(map(len, queues.values())) == n_refused > 90
    assert told.not_200 == []
    assert told.incomplete == []
    assert set(told.reasons) <= {"none", "deadline", "overloaded"}, told.reasons
    n_late = metric(service, LATE_ANSWERS) - n_late
    waited_s = kept_from_the_cpu_s(service) - waited_s
    assert n_late <= 0.001 * told.n + PER_S * waited_s
    assert service.child.poll() is None
