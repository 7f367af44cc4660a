"""`opportune choose-text` over real files, good and bad; its page is true."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.runs import runs_in
from training.errors import TooFewRowsError
from training.text_trial import BY_LENGTH, BY_WORDS, leads, pairs_of, try_texts

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "texts.md"
WORDS = [f"{begin}{end}" for begin in ("bol", "kam", "ruz", "fit") for end in ("ten", "gar", "lix")]


def comparisons(*, n=300, strength=0.6, seed=1):
    """Tests of two texts of four made-up words; the first three words are what wins."""
    rng = np.random.default_rng(seed)
    rows = []
    for test in range(n):
        for side in range(2):
            words = rng.choice(len(WORDS), 4, replace=False)
            text = " ".join([*(WORDS[w] for w in words), f"no{test}{'ab'[side]}"])
            chance = 0.05 * np.exp(strength * ((words < 3).sum() - 1))
            rows.append((f"t{test}", text, 4_000, int(rng.binomial(4_000, chance))))
    return pl.DataFrame(rows, schema=["test", "text", "shown", "clicked"], orient="row")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OPPORTUNE_DATA_DIR", str(tmp_path / "var"))

    def choose(rows, *texts, suffix="csv"):
        past, candidates = tmp_path / f"past.{suffix}", tmp_path / "texts.txt"
        rows.write_csv(past) if suffix == "csv" else rows.write_parquet(past)
        candidates.write_text("\n".join(texts) + "\n\n")
        words = ["choose-text", "--past", str(past), "--texts", str(candidates)]
        return CliRunner().invoke(app, words)

    return choose


WEAK, MIDDLE, STRONG = "fitten fitgar hats", "bolten fitten hats", "bolten bolgar bollix [hats]"


def test_candidates_are_ranked_by_what_won_before(run, tmp_path):
    done = run(comparisons(), WEAK, MIDDLE, STRONG)
    assert done.exit_code == 0, done.output
    assert f"Verdict: `{STRONG}` beats the first in" in done.stdout
    places = [done.stdout.index(text) for text in (STRONG, MIDDLE, WEAK)]
    assert places == sorted(places)
    assert "(the first)" in done.stdout
    assert run(comparisons(), WEAK, MIDDLE, STRONG, suffix="parquet").stdout == done.stdout
    told = [(one.command, one.outcome, one.facts) for one in runs_in(tmp_path / "var" / "runs")]
    assert told == [("choose-text", "done", {"is_better_than_chance": True, "tests": 300})] * 2
    first = run(comparisons(), STRONG, MIDDLE, WEAK)
    assert "no candidate is likelier to win than the first" in first.stdout


def test_where_words_say_nothing_nothing_is_ranked(run):
    done = run(comparisons(strength=0.0), WEAK, MIDDLE, STRONG)
    assert done.exit_code == 0, done.output
    assert "Verdict: words are not better than chance: choose yourself" in done.stdout
    assert "Candidates" not in done.stdout


def test_worlds_without_any_effect_are_seldom_called_better_than_chance():
    called = [try_texts(comparisons(strength=0.0, seed=s, n=200)) for s in range(12)]
    assert sum(trial.is_better_than_chance for trial in called) <= 2
    assert all(trial.every[BY_WORDS].low < 0.5 for trial in called[:1])


def test_chances_are_those_of_comparisons_to_come_and_the_first_has_one_half():
    trial = try_texts(comparisons(n=500))
    assert trial.is_better_than_chance
    assert set(trial.every) == set(trial.surely) == {BY_WORDS, BY_LENGTH}
    assert trial.surely[BY_WORDS].value > trial.every[BY_WORDS].value > 0.7
    later = pairs_of(comparisons(n=400, seed=2))
    odds = logit(trial.chances([*later.first, *later.second])).reshape(2, -1)
    p, won = expit(odds[0] - odds[1]), later.z > 0
    assert p.mean() == pytest.approx(won.mean(), abs=0.06)
    assert won[p > 0.8].mean() > 0.8
    assert won[p < 0.2].mean() < 0.2
    assert trial.chances([WEAK, WEAK]) == pytest.approx([0.5, 0.5])


def test_a_pair_is_judged_by_what_shares_nothing_with_it():
    pairs = pairs_of(comparisons(n=200))
    lead = leads(pairs)
    assert not np.isnan(lead).any()
    chosen = pairs.group == pairs.group[0]
    turned = pairs.z.copy()
    turned[chosen] *= -1
    again = leads(type(pairs)(pairs.first, pairs.second, turned, pairs.test, pairs.group))
    np.testing.assert_array_equal(lead[chosen], again[chosen])
    assert (lead != again).any()


def test_rows_of_one_text_in_one_test_are_added_up():
    rows = comparisons(n=30)
    halves = rows.with_columns(pl.col("shown") // 2, pl.col("clicked") // 2)
    rest = rows.with_columns(
        pl.col("shown") - pl.col("shown") // 2, pl.col("clicked") - pl.col("clicked") // 2
    )
    one, two = pairs_of(rows), pairs_of(pl.concat([halves, rest]))
    np.testing.assert_allclose(np.sort(one.z), np.sort(two.z))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop("shown"), "there is no column shown; write Parquet or CSV with"),
        (lambda rows: rows.with_columns(shown=pl.lit(10)), "clicked of 10 shown; count recipients"),
        (lambda rows: rows.with_columns(clicked=pl.lit("few")), "column clicked is String"),
        (lambda rows: rows.head(100), "pairs of texts with different click rates, at least 150"),
        (lambda rows: rows.with_columns(test=pl.lit("t")).head(30), "1 groups of comparisons"),
        (lambda rows: rows.head(0), "column shown is String, not a number"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(run, change, told):
    done = run(change(comparisons(n=160)), WEAK, STRONG)
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())
    assert done.stderr.count("error: ") == 1


def test_candidates_that_are_no_two_texts_are_refused(run):
    done = run(comparisons(n=160), WEAK, WEAK)
    assert done.exit_code == 2
    assert "it holds 1 different texts; write 2 to 1,000" in " ".join(done.stderr.split())


def test_texts_without_a_common_word_are_refused():
    rng = np.random.default_rng(3)
    rows = pl.DataFrame(
        {
            "test": np.repeat(np.arange(200), 2),
            "text": [chr(0x4E00 + n) for n in range(400)],
            "shown": 1_000,
            "clicked": rng.integers(10, 60, 400),
        }
    )
    with pytest.raises(TooFewRowsError, match="hardly a word of which comes again"):
        try_texts(rows)


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
