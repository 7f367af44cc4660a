"""`opportune choose-arm` over real files, good and bad; its page is true."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from pipelines.cli import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "arms.md"


def mailing(*, n=1_500, seed=1):
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, n)
    return pl.DataFrame(
        {
            "recipient_key": [f"r{i}" for i in range(n)],
            "arm": np.array(["[none]", "autumn"])[arm],
            "outcome": rng.random(n) < np.array([0.2, 0.35])[arm],
            "propensity": np.full(n, 0.5),
            "age": rng.integers(20, 80, n),
        }
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))

    def choose(rows, *words, suffix="parquet"):
        file = tmp_path / f"mailing.{suffix}"
        rows.write_parquet(file) if suffix == "parquet" else rows.write_csv(file)
        return CliRunner().invoke(app, ["choose-arm", str(file), *words])

    return choose


def test_arms_are_valued_and_the_best_goes_to_everybody(run):
    done = run(mailing())
    assert done.exit_code == 0, done.output
    assert "Verdict: send `autumn` to everybody: personal choices add" in done.stdout
    assert "[none]" in done.stdout
    assert "Qini" not in done.stdout
    assert "evenly" not in done.stdout
    assert "fitting outcomes on 1,500 rows, 3 of 3" in done.stderr


def test_csv_gives_the_same_and_without_chances_it_says_what_it_takes(run):
    rows = mailing().drop("propensity")
    shown = [
        run(rows, "--control", "[none]", suffix=suffix).stdout for suffix in ("parquet", "csv")
    ]
    assert shown[0] == shown[1]
    assert "No column propensity: the arms are taken as drawn evenly." in shown[0]
    assert "Against [none]" in shown[0]
    assert "Qini, 95 % interval" in shown[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop("arm"), "there is no column arm; write Parquet or CSV with"),
        (
            lambda rows: rows.with_columns(pl.lit("much").alias("outcome")),
            "column outcome is String, not a number",
        ),
        (
            lambda rows: rows.with_columns(
                pl.when(pl.int_range(pl.len()) != 7).then("arm").alias("arm")
            ),
            "column arm is empty in row 7",
        ),
        (lambda rows: rows.with_columns(pl.lit(0.0).alias("propensity")), "propensity: row 0 is 0"),
        (lambda rows: rows.with_columns(spent="outcome"), "spent: ranks"),
        (lambda rows: rows.head(0), "0 recipients in 0 rows"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(run, change, told):
    done = run(change(mailing()))
    assert done.exit_code == 2, done.output
    assert told in done.stderr
    assert done.stderr.count("error: ") == 1


def test_no_file_another_kind_of_file_and_another_arm_are_refused(run, tmp_path):
    other = tmp_path / "rows.parquet"
    other.write_text("recipient_key,arm\n")
    for file in (tmp_path / "nothing.csv", tmp_path / "nothing.parquet", other, tmp_path):
        done = CliRunner().invoke(app, ["choose-arm", str(file)])
        assert done.exit_code == 2, done.output
        assert "write Parquet or CSV with the columns" in done.stderr
    done = run(mailing(), "--control", "winter")
    assert done.exit_code == 2
    assert "no 'winter'; take of [none], autumn" in done.stderr


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
