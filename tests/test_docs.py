"""The documentation is true: complete against the code, and every command in it runs."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from features.document import page
from features.errors import RejectReason
from features.events.mapping import Mapping
from features.events.schema import FIELDS, EventType
from models.bundle import report_of
from models.report import read_report
from pipelines.cli import app
from pipelines.settings import DemoSettings, Settings
from serving.fallback import FallbackReason
from serving.holding import HoldReason
from serving.http.app import create_app
from serving.policy import Band, ReasonCode
from serving.rules import Binding
from serving.settings import ServingSettings
from serving.zones import ZoneSource

ROOT = Path(__file__).parents[1]
DOCS = sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("examples/**/*.md"))


def read(name: str) -> str:
    return (ROOT / name).read_text()


def missing_from(name: str, words: list[str]) -> list[str]:
    text = read(name)
    return [word for word in words if f"`{word}`" not in text]


def test_every_setting_is_documented_with_its_description():
    settings = {
        f"OPPORTUNE_{name.upper()}": field.description
        for model in (Settings, ServingSettings)
        for name, field in model.model_fields.items()
    }
    assert not missing_from("docs/configuration.md", [*settings, "DEMO_EXIT"])
    assert all(name in read(".env.example") for name in [*settings, "DEMO_EXIT"])
    assert DemoSettings.model_fields["demo_exit"].validation_alias == "DEMO_EXIT"


def test_every_event_type_field_and_rejection_is_documented():
    words = [*EventType, *RejectReason, *FIELDS]
    assert not missing_from("docs/events.md", [str(word) for word in words])


def test_every_fallback_constraint_band_zone_source_and_reason_code_is_documented():
    words = [*FallbackReason, *Binding, *HoldReason, *Band, *ZoneSource, *ReasonCode]
    assert not missing_from("docs/api.md", [str(word) for word in words])


def test_every_route_is_documented(tmp_path):
    routes = create_app(ServingSettings(data_dir=tmp_path)).openapi()["paths"]
    named = [f"{method.upper()} {path}" for path, methods in routes.items() for method in methods]
    assert not missing_from("docs/api.md", named)


def test_every_command_is_documented_and_has_help_worth_reading():
    commands = {str(command.name): command for command in app.registered_commands}
    for group in app.registered_groups:
        inner = group.typer_instance
        assert inner is not None
        commands |= {f"{inner.info.name} {c.name}": c for c in inner.registered_commands}
    assert "keys add" in commands
    assert not missing_from("docs/operations.md", [f"opportune {name}" for name in commands])
    for name, command in commands.items():
        assert command.callback is not None
        assert len(command.callback.__doc__ or "") > 60, name


def test_the_page_of_features_is_the_generated_one():
    assert read("docs/features.md") == page()


def test_the_mapping_in_the_documentation_is_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", read("docs/events.md"), re.DOTALL)
    assert blocks
    for block in blocks:
        Mapping.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("file", [ROOT / "README.md", *DOCS], ids=lambda f: str(f.name))
def test_every_link_leads_somewhere(file):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []


def shell_of(*files: Path) -> str:
    """All `sh` blocks of pages as one script that stops what it started."""
    text = "".join(file.read_text() for file in files)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return "\n".join(["set -euo pipefail", "trap 'kill $(jobs -p) || true' EXIT", *blocks])


def run(file: Path, tmp_path: Path, *then: Path) -> str:
    """Run the commands of a page, and of those that go on from it, in a root like the repository's.

    The data are in a scratch place.
    """
    for name in (".venv", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("OPPORTUNE_")},
        "DATA": str((ROOT / "../shared/data" / file.parent.name).resolve()),
    }
    folder = {"developer_activity": "git_activity_dev"}.get(file.parent.name)
    if folder:
        environment["DATA"] = str((ROOT / "../shared/data" / folder).resolve())
    done = subprocess.run(
        ["bash", "-c", shell_of(file, *then)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def measures_of(bundle: Path) -> dict[str, float]:
    """What the report inside a bundle says of the model."""
    measures = read_report(report_of(bundle)).row.measures
    return {name: measured.value for name, measured in measures.items()}


@pytest.mark.long
def test_the_commands_of_the_readme_end_in_complete_scores(tmp_path):
    sender = ROOT / "examples/sender/README.md"  # it goes on where the first score ends
    said = run(ROOT / "README.md", tmp_path, sender, ROOT / "docs/audience.md")
    assert '"recipient_key":"w7-r000042"' in said
    assert '"accepted":1' in said
    assert '"reason":"unknown_recipient"' in said
    assert "The campaign" in said
    assert len(list((tmp_path / "var/outbox").glob("*.eml"))) == 800
    assert "var/plan.parquet: 800 recipients" in said


def test_the_commands_of_the_page_on_runs_show_the_run(tmp_path):
    said = run(ROOT / "docs/runs.md", tmp_path)
    assert "accepted 1" in said
    assert "importing" in said


@pytest.mark.long
def test_the_commands_of_the_page_on_dagster_import_a_day(tmp_path):
    said = run(ROOT / "docs/dagster.md", tmp_path)
    assert "accepted 1" in said


@pytest.mark.long
@pytest.mark.shared
def test_the_online_retail_example_runs_and_scores_a_known_customer(tmp_path, shared_data):
    assert shared_data.is_dir()
    said = run(ROOT / "examples/online_retail/README.md", tmp_path)
    answer = said[said.rindex('{"status"') :]
    assert '"recipient_key":"12748"' in answer
    assert '"fallback":{"used":false,"reason":"none"' in answer
    measured = measures_of(tmp_path / "var/online-retail/models/churn/1")
    assert measured["AUC"] >= 0.733
    assert measured["log loss"] <= 0.600
    assert measures_of(tmp_path / "var/online-retail/models/send_time/1")["nats over global"] > 0
    assert measures_of(tmp_path / "var/online-retail/models/content_preference/1")["NDCG@10"] > 0.3


@pytest.mark.long
@pytest.mark.shared
def test_the_developer_activity_example_runs_and_scores_a_known_person(tmp_path, shared_data):
    assert shared_data.is_dir()
    said = run(ROOT / "examples/developer_activity/README.md", tmp_path)
    answer = said[said.rindex('{"status"') :]
    assert '"recipient_key":"10290"' in answer
    told = json.JSONDecoder().raw_decode(answer)[0]
    assert told["models"] == {"send_time": "1", "churn": "none", "content_preference": "none"}
    assert told["fallback"]["parts"]["send_time"] == "none"  # no reason: the model's own word
    measured = measures_of(tmp_path / "var/developer-activity/models/send_time/1")
    assert measured["nats over global"] >= 0.12
