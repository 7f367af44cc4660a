"""Whom to score: the recipients of a Parquet or CSV file, checked, once each, in chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl
from pydantic import ValidationError

from features.errors import FileUnusableError
from features.events.schema import MAX_KEY_CHARS
from pipelines.send_file import mistakes_of
from serving.http.answers import ask_of
from serving.http.request_schemas import ScoreRequest

KEY: Final = "recipient_key"
FULL: Final = "full"
# What a sender may know of one recipient; it goes before what the send file says of all.
OWN: Final = {
    "timezone": pl.String, "previous_band": pl.String, "default_at": pl.Int64,
    "window_from": pl.Int64, "window_to": pl.Int64, "test": pl.Boolean,
}  # fmt: skip
_ASKED: Final = {name: "is_test" if name == "test" else name for name in OWN}
_REMEDY: Final = f"write Parquet or CSV with the column {KEY} and maybe {', '.join(OWN)}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some recipients, as they are handed to a process.

    Args:
        own: By field of an `Ask` a value per key, where the audience has the column.
        full: Per key the hours that have no room for its mail, microseconds; empty for nobody's.
        digest: Of all of it.
    """

    number: int
    keys: list[str]
    own: dict[str, list[Any]]
    full: list[list[int]] = field(default_factory=list)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        told = orjson.dumps([self.keys, self.own, self.full])
        object.__setattr__(self, "digest", blake2b(told, digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class Audience:
    """Recipients in their order, nobody twice.

    Args:
        rows: `recipient_key`, and under the names of `Ask` what is known of each; times in
            microseconds, zero for none. Maybe `full`, see `Chunk`.
        n_duplicates: Rows that were left out, because their key stands further up.
    """

    rows: pl.DataFrame
    n_duplicates: int

    def chunks(self, size: int) -> Iterator[Chunk]:
        """So many recipients at a time."""
        own = [name for name in self.rows.columns if name not in {KEY, FULL}]
        for number, some in enumerate(self.rows.iter_slices(size)):
            if len(some):
                full = some[FULL].to_list() if FULL in some.columns else []
                told = {name: some[name].to_list() for name in own}
                yield Chunk(number, some[KEY].to_list(), told, full)

    def avoiding(self, full: Sequence[Sequence[int]]) -> "Audience":
        """The same, with hours that have no room for each; microseconds."""
        column = pl.Series(FULL, full, dtype=pl.List(pl.Int64))
        return Audience(self.rows.with_columns(column), self.n_duplicates)

    def some(self, places: Sequence[int]) -> "Audience":
        """Those in some places."""
        return Audience(self.rows[places], self.n_duplicates)


def read_audience(file: Path, send: ScoreRequest) -> Audience:
    """The audience of a file, each value checked by the schema of the API beside the send's own.

    Args:
        send: What is asked about everybody.

    Raises:
        FileUnusableError: The file cannot be read, has a column that is not ours, or a value
            that does not fit; the error names column, row and remedy.
    """
    return audience_of(_read(file), send, file=file)


def audience_of(rows: pl.DataFrame, send: ScoreRequest, *, file: Path) -> Audience:
    """The same of rows that were read already; `file` is what errors call them.

    Raises:
        FileUnusableError: A column is not ours, or a value does not fit.
    """
    _refuse_columns(file, rows.columns)
    key = rows[KEY]
    unfit = key.is_null() | ~key.str.len_chars().is_between(1, MAX_KEY_CHARS)
    if unfit.any():
        problem = f"{KEY} is empty or longer than {MAX_KEY_CHARS} characters in row"
        raise FileUnusableError(str(file), f"{problem} {unfit.arg_max()}", "put its key there")
    once = rows.filter(key.is_first_distinct())
    own = [name for name in OWN if name in once.columns]
    if own:
        kinds = once.select(own).unique(maintain_order=True)
        told = _told(file, rows, kinds, send)
        once = once.join(
            pl.concat([kinds, told], how="horizontal"),
            on=own, how="left", nulls_equal=True, maintain_order="left",
        ).select(KEY, *(pl.col(f"told_{name}").alias(_ASKED[name]) for name in own))  # fmt: skip
    return Audience(once, len(rows) - len(once))


def _read(file: Path) -> pl.DataFrame:
    try:
        if file.suffix == ".parquet":
            rows = pl.scan_parquet(file)
        else:
            rows = pl.scan_csv(file, infer_schema=False)  # a key such as 007 is no number
        columns = rows.collect_schema()
        _refuse_columns(file, columns.names())
        if not (columns[KEY] == pl.String or columns[KEY].is_integer()):
            raise FileUnusableError(str(file), f"{KEY} is {columns[KEY]}", "write it as text")
        return rows.with_columns(pl.col(KEY).cast(pl.String)).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise FileUnusableError(str(file), str(error), _REMEDY) from error


def _refuse_columns(file: Path, columns: Sequence[str]) -> None:
    """A misspelt column that was passed over would be a wrong clock for everybody."""
    if KEY not in columns:
        raise FileUnusableError(str(file), f"there is no column {KEY}", _REMEDY)
    unknown = [name for name in columns if name != KEY and name not in OWN]
    if unknown:
        problem = f"the columns {', '.join(unknown)} mean nothing here"
        raise FileUnusableError(str(file), problem, f"leave them out; {_REMEDY}")


def _told(file: Path, rows: pl.DataFrame, kinds: pl.DataFrame, send: ScoreRequest) -> pl.DataFrame:
    """What each kind of row says, as an `Ask` has it; columns `told_*`, rows as in `kinds`."""
    shared = send.model_dump(include={KEY, *OWN})
    found: dict[str, list[Any]] = {f"told_{name}": [] for name in kinds.columns}
    for kind in kinds.iter_rows(named=True):
        said = {name: value for name, value in kind.items() if value is not None}
        try:
            ask = ask_of(ScoreRequest.model_validate(shared | said))
        except ValidationError as error:
            problem = f"row {_first_of(rows, kind)}: {mistakes_of(error)}"
            raise FileUnusableError(str(file), problem, "see docs/api.md, asking") from error
        for name in kinds.columns:
            found[f"told_{name}"].append(getattr(ask, _ASKED[name]))
    return pl.DataFrame(found, schema={f"told_{name}": OWN[name] for name in kinds.columns})


def _first_of(rows: pl.DataFrame, kind: dict[str, Any]) -> int:
    """The first row of a kind, from 0; a key would end up in the record of the run."""
    is_so = [pl.col(name).eq_missing(pl.lit(value)) for name, value in kind.items()]
    return int(rows.select(pl.all_horizontal(is_so).arg_max()).item())
