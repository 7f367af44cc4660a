"""What commands show of an error: one line, with its remedy, and code 2."""

import errno
import os

import pytest
import typer

from pipelines.console import UNUSABLE, errors_shown


def shown(number, capsys):
    with pytest.raises(typer.Exit) as left, errors_shown():
        raise OSError(number, os.strerror(number), "/srv/plans/plan.parquet")
    assert left.value.exit_code == UNUSABLE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "/srv/plans/plan.parquet" in line
    return line


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_forbidden_place_is_told_with_what_to_do(number, capsys):
    assert "give this user the right to it, or name another place" in shown(number, capsys)


def test_what_no_right_mends_is_told_as_it_is(capsys):
    assert "right" not in shown(errno.ENOSPC, capsys)
