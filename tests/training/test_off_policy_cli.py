"""`opportune evaluate-policy` over real Parquet files, good and bad; its page is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.policy_commands import KEYS, MODEL, NUMBERS, read_decisions
from pipelines.runs import DONE, FAILED, runs_in
from training.off_policy import Estimator
from training.off_policy_report import Limits, Outcome, judge

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "off-policy.md"


def decisions(*, n=12_000, rates=(0.04, 0.07), seed=1):
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 2, n)
    return pl.DataFrame(
        {
            "recipient_key": [f"r{key}" for key in rng.integers(0, n // 4, n)],
            "action": np.array(["autumn", "winter"])[item],
            "reward": rng.random(n) < np.array(rates)[item],
            "propensity": np.full(n, 0.5),
            "target": np.where(item == 1, 0.9, 0.1),
        }
    ).with_columns(pl.col("reward").cast(pl.Int8))


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))

    def run(rows, *words):
        file = tmp_path / "log.parquet"
        rows.write_parquet(file)
        return CliRunner().invoke(app, ["evaluate-policy", str(file), *words])

    return run


def test_a_log_is_judged_and_all_of_it_is_shown(evaluate, tmp_path):
    rows = decisions()
    done = evaluate(rows)
    assert done.exit_code == 0, done.output
    judged = judge(*read_decisions(tmp_path / "log.parquet"))
    snips = judged.valued.estimates[Estimator.SNIPS].value
    assert judged.verdict.outcome is Outcome.BETTER
    assert "Verdict: better" in done.output
    assert f"{snips.value:.4g} [{snips.low:.4g}, {snips.high:.4g}]" in done.output
    for told in ("IPS", "effective rows", "matched positives", "mean weight", "12,000"):
        assert told in done.output
    assert "DR" not in done.output.replace("IPS", "").split("Overlap")[0].split("verdict")[0]


def test_a_model_and_slots_are_used_where_they_are_given(evaluate):
    rows = decisions().with_columns(
        pl.when(pl.col("action") == "winter").then(0.06).otherwise(0.04).alias("q_logged"),
        pl.lit(0.1 * 0.04 + 0.9 * 0.06).alias("q_target"),
        (pl.int_range(pl.len()) % 2).alias("slot"),
    )
    done = evaluate(rows)
    assert done.exit_code == 0, done.output
    assert "DR differs from the log's mean" in done.output
    for told in ("DM", "switch-DR", "in slot 0", "in slot 1"):
        assert told in done.output


def test_a_log_that_is_too_short_is_not_an_error(evaluate):
    done = evaluate(decisions(n=400))
    assert done.exit_code == 0, done.output
    assert "Verdict: not assessable" in done.output
    assert "more rows of this kind are needed" in done.output


def test_a_judgement_is_on_record_and_so_is_a_file_that_cannot_be_used(evaluate, tmp_path):
    rows = decisions(n=400)
    assert evaluate(rows, "--lift", "0.5").exit_code == 0
    assert evaluate(rows.drop("reward")).exit_code == 2
    refused, judged = runs_in(tmp_path / "var/runs")
    assert (judged.command, judged.outcome, judged.exit_code) == ("evaluate-policy", DONE, 0)
    assert judged.parameters == {"file": str(tmp_path / "log.parquet"), "lift": 0.5}
    assert judged.facts == {"verdict": "not assessable", "rows": 400}
    assert (refused.outcome, refused.exit_code) == (FAILED, 2)
    assert "no column reward" in refused.error
    sure = evaluate(decisions(rates=(0.05, 0.05)))
    assert "Verdict: not different" in sure.output
    finer = evaluate(decisions(rates=(0.05, 0.05)), "--lift", "0.01")
    assert "1% is asked for" in finer.output


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop("target"), "there is no column target; write Parquet with"),
        (
            lambda rows: rows.with_columns(pl.lit("much").alias("reward")),
            "column reward is String, not a number",
        ),
        (
            lambda rows: rows.with_columns(
                pl.when(pl.int_range(pl.len()) != 7).then("action").alias("action")
            ),
            "column action is empty in row 7",
        ),
        (
            lambda rows: rows.with_columns(pl.concat_list("action").alias("action")),
            "column action is List(String); write one plain value a row",
        ),
        (
            lambda rows: rows.with_columns(pl.lit(0.0).alias("propensity")),
            "propensity: row 0 is 0.0; log the chance of the action taken",
        ),
        (lambda rows: rows.with_columns(pl.lit(1.5).alias("target")), "target: row 0 is 1.5"),
        (lambda rows: rows.with_columns(pl.lit(0.1).alias("q_logged")), "q_target: missing"),
        (lambda rows: rows.head(0), "0 recipients in 0 rows"),
    ],
)
def test_a_file_that_cannot_be_judged_is_refused_in_one_line(evaluate, change, told):
    done = evaluate(change(decisions(n=100)))
    assert done.exit_code == 2, done.output
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_file_and_another_kind_of_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))
    other = tmp_path / "log.csv"
    other.write_text("recipient_key,action\n")
    for file in (tmp_path / "nothing.parquet", other, tmp_path):
        done = CliRunner().invoke(app, ["evaluate-policy", str(file)])
        assert done.exit_code == 2, done.output
        assert "write Parquet with the columns" in done.stderr


def test_help_does_not_wait_for_the_training_stack():
    code = (
        "import sys; import pipelines.cli; "
        "sys.exit(any(n in sys.modules for n in ('lightgbm', 'scipy', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- the page ---------------------------------------------------------------------------------


def test_the_page_names_every_column_estimator_outcome_and_limit():
    text = PAGE.read_text()
    words = [*KEYS, *NUMBERS, *MODEL, "slot", "opportune evaluate-policy"]
    words += [*Estimator, *Outcome, *Limits.__slots__]
    assert [word for word in words if f"`{word}`" not in text] == []


def test_the_commands_of_the_page_run_and_say_what_it_says(tmp_path):
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown.splitlines() == [line.rstrip() for line in done.stdout.splitlines()]
