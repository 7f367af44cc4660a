"""What `promote` asks: the gates, beside the champion measured on the candidate's own rows."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from features.events.schema import DAY_US
from models.bundle import Manifest, load_bundle, report_of
from models.gates import judge
from models.report import read_report
from models.verdict import Route
from pipelines.promote import version_of
from pipelines.review import review
from tests.pipelines.test_model_commands import (  # noqa: F401  fixtures
    is_one_red_line,
    shell,
    shell_over,
)
from training.calibration import Platt
from training.recipe import Order, Sitting, shown_day


def report_in(shell, name, version):  # noqa: F811
    into = shell.data_dir / f"report-{name}-{version}"
    into.mkdir()
    found = version_of(name, version, registry=shell.registry)
    return read_report(report_of(shell.registry.fetch(found, into)))


@pytest.mark.parametrize("name", ["churn", "send_time"])
def test_the_champion_is_measured_on_the_candidates_own_rows(shell, name):  # noqa: F811
    """Trained at the same moment both have the same test: its row is that of its own report."""
    first, second = (report_in(shell, name, version) for version in "12")
    assert first.champion is None
    assert second.champion.method == "champion 1"
    assert second.champion.measures == first.row.measures
    assert "champion 1" not in second.not_beaten
    assert [row.method for row in second.baselines] == [row.method for row in first.baselines]
    assert any(part.over_champion for part in second.slices)
    assert first.decisions is None
    assert second.decisions.n == int(second.test.split()[0])
    assert second.decisions.otherwise.value < 0.15  # another seed, the same rows
    assert (second.decisions.entropy is None) == (name == "churn")
    gates = review(version_of(name, "2", registry=shell.registry), registry=shell.registry).gates
    told = {gate.name: gate for gate in gates}
    assert told["decisions"].passed
    assert told["latency"].passed
    assert " in the champion's " in told["latency"].said


def test_of_content_the_first_of_ten_items_is_compared(shell):  # noqa: F811
    assert shell("retrain", "content_preference", "--as-of", "2025-12-28").exit_code == 0
    found = shell.newest("content_preference")
    told = report_in(shell, "content_preference", found.version).decisions
    assert told.what == "first of ten items"
    assert told.n == 1_000
    assert 0.0 <= told.otherwise.value < 0.5  # a little more of the same log
    page = shell.registry._client.get_model_version("content_preference", found.version)
    said = f"Decided otherwise than by the champion: {told.otherwise.value:.1%} of 1,000"
    assert said in page.description


def test_a_refused_candidate_leaves_everything_as_it_was_unless_forced(shell):  # noqa: F811
    before = {v.version: v.aliases for v in shell.registry.versions("churn")}
    outcome = shell("promote", "churn", "2")
    assert outcome.exit_code == 3, outcome.output
    assert "route refresh: refused" in outcome.stdout
    assert "of 2,000 in the test" in outcome.stdout  # six hundred people
    assert "--force" in outcome.stderr
    assert "Traceback" not in outcome.output
    assert {v.version: v.aliases for v in shell.registry.versions("churn")} == before
    assert shell.folder.champion("churn").version == "1"

    assert shell("promote", "churn", "2", "--force").exit_code == 0
    assert shell.folder.champion("churn").version == "2"
    assert shell("rollback", "churn").exit_code == 0  # no gate stands in the way back
    assert shell.folder.champion("churn").version == "1"


def test_the_route_decides_what_the_champion_is_asked(shell):  # noqa: F811
    found = version_of("churn", "2", registry=shell.registry)
    refresh = review(found, registry=shell.registry)
    assert refresh.route is Route.REFRESH
    assert "baseline" not in [gate.name for gate in refresh.gates]
    better = review(found, registry=shell.registry, route=Route.NEW_SPEC)
    assert {"champion", "baseline"} < {gate.name for gate in better.gates}
    assert "route new-spec" in shell("promote", "churn", "--route", "new-spec").stdout
    champion = version_of("churn", "1", registry=shell.registry)
    assert review(champion, registry=shell.registry) is None


def test_a_candidate_measured_beside_another_champion_is_refused(shell):  # noqa: F811
    assert shell("retrain", "churn").exit_code == 0  # 3, beside champion 1
    assert shell("promote", "churn", "2", "--force").exit_code == 0
    found = version_of("churn", "3", registry=shell.registry)
    verdict = review(found, registry=shell.registry)
    assert any("retrain while it is champion" in reason for reason in verdict.reasons)


def test_a_champion_of_another_horizon_is_no_measure(shell):  # noqa: F811
    assert shell("retrain", "churn", "--horizon-days", "21").exit_code == 0
    verdict = review(shell.newest("churn"), registry=shell.registry)
    assert verdict.route is Route.NEW_SPEC
    assert "champion" not in [gate.name for gate in verdict.gates]
    assert report_in(shell, "churn", "3").champion is None


def test_candidates_of_one_day_are_counted_and_the_champion_is_none(shell):  # noqa: F811
    def said(version):
        found = version_of("churn", version, registry=shell.registry)
        gates = review(found, registry=shell.registry).gates
        return next(gate.said for gate in gates if gate.name == "tries")

    assert said("2").startswith("number 1 of 5")  # as of the champion's own day
    for place in (1, 2):
        assert shell("retrain", "churn", "--horizon-days", 20 + place).exit_code == 0
        assert said("candidate").startswith(f"number {place} of 5")
    assert shell("promote", "churn", "2", "--force").exit_code == 0
    assert said("4").startswith("number 2 of 5")


def test_a_champion_that_may_have_seen_the_rows_does_not_answer(bundle_folders):
    bundle = load_bundle(bundle_folders["churn"])
    sitting = Sitting("4", bundle)
    rows = np.zeros((3, len(bundle.spec.inputs)), np.float32)
    day = 19_723 * DAY_US  # 2024-01-01, the bundle's own
    assert shown_day(day) == bundle.manifest.as_of

    def asked(at, label=bundle.manifest.label, champion=sitting):
        order = Order(None, at, 0, champion=champion)
        return order.champion_answers(label, "p_churn", rows)

    assert asked(day)["champion 4"].shape == (3, 1)
    assert list(asked(day + DAY_US)) == ["champion 4"]
    assert asked(day - 60_000_000) == {}
    assert asked(day, label="another question") == {}
    assert asked(day, champion=None) == {}


def test_a_champion_calibrated_on_the_tests_labels_answers_as_it_was_measured(bundle_folders):
    bundle = load_bundle(bundle_folders["churn"])
    exported, measured = Platt(1.0, 0.3, (-1.0, 0.5), (0.5, -0.9)), Platt(0.8, -0.4, (0.0,), (0.3,))
    both = {"exported": asdict(exported), "measured": asdict(measured)}
    told = bundle.manifest.model_dump() | {"calibrations": both}
    manifest = Manifest.model_validate(told)
    rows = np.random.default_rng(4).gamma(1, 2, (50, len(bundle.spec.inputs))).astype(np.float32)
    own = bundle.session.run(rows)["p_churn"].astype(np.float64)
    day = 19_723 * DAY_US

    def asked(known_at):
        order = Order(None, day, 0, champion=Sitting("4", replace(bundle, manifest=manifest)))
        (answers,) = order.champion_answers(
            manifest.label, "p_churn", rows, known_at=known_at
        ).values()
        return answers

    expected = measured.apply(exported.raw_of(own[:, 0]))
    np.testing.assert_allclose(asked(day)[:, 0], expected)
    assert np.abs(asked(day) - own).max() > 0.05
    np.testing.assert_array_equal(asked(day + DAY_US), own)  # labels later than what it knew


def test_the_reports_of_the_world_have_slices_calibration_and_pictures(shell):  # noqa: F811
    for name in ("churn", "content_preference", "send_time"):
        report = report_in(shell, name, "1")
        families = {part.family for part in report.slices}
        assert {"machine open", "time zone", "score"} <= families, name
        assert report.sample.recipients > 100
        assert (report.calibration is None) == (report.gain_of != "log loss")
        assert "people would" in report.facts["learning curve"]
        assert judge(report, None, Route.NEW_SPEC).gates
    version = version_of("churn", "2", registry=shell.registry).version
    told = shell.registry._client.get_model_version("churn", version).description
    for name in ("contributions.png", "learning_curve.png"):
        assert name in told
    assert "## For whom worse" in told
    assert "## What would change the verdict" in told
