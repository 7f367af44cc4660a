"""Send time on real people: author dates of commits, measured through the exported bundle."""

import pytest

from tests.benchmarks.bench_send_time import FILE, HITS, TARGETS, hidden, imported, measured


@pytest.fixture(scope="module")
def commits(tmp_path_factory):
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there")
    return imported(tmp_path_factory.mktemp("commits"))


@pytest.mark.long
@pytest.mark.shared
def test_people_are_active_when_the_bundle_says_and_a_raw_histogram_is_worse_than_none(
    commits, tmp_path
):
    """Every second clock is hidden; the benchmark also asks with all and with none."""
    found = measured(hidden(commits, 2), tmp_path)
    nats, hits = found["nats"], found["hit@3"]
    assert nats["shrunk rhythm"].low >= TARGETS["everybody's clock"]
    assert hits["shrunk rhythm"].low >= HITS
    assert nats["raw histogram"].high < 0
    # Cohorts at every offset tell more of the unknown clocks than one clock for all.
    assert nats["shrunk rhythm"].value > nats["one clock for all"].value + 0.01
