"""Where the fields of an event come from: the right-hand sides of a mapping.

Each source is read once into a plain function of a row and its number, so that an import of
millions of rows does not look at the mapping again for each of them.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from features.errors import EventRejectedError, RejectReason
from features.events.cells import Row, is_missing, number_of, plain_of, text_of
from features.events.schema import zone_of

Reader = Callable[[Row, int], Any]
"""A field's value from a row and its number in the file (the first is 1)."""

ROW_NUMBER: Final = "row"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {
    "s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)
}  # fmt: skip
_SECONDS_TEXT: Final = re.compile(r"\d{9,10}(\.\d+)?")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class Spec(BaseModel):
    """A part of a mapping: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class TextSource(Spec):
    """Text from one column, the same for all rows, or composed of several columns.

    `values` translates what the column says; what it does not list stays as it is.
    """

    column: str | None = None
    constant: str | None = None
    template: str | None = None
    values: dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        exactly_one(self, "column", "constant", "template")
        if self.values is not None and self.column is None:
            raise ValueError("`values` translates a column: name the `column`")
        return self

    def columns(self) -> list[str]:
        """The columns it reads."""
        if self.template is not None:
            names = _PLACEHOLDER.findall(self.template)
            return [name for name in names if name != ROW_NUMBER]
        return [] if self.column is None else [self.column]

    def reader(self, field: str) -> Reader:
        """As a function of a row; a template of which a part is missing gives nothing."""
        if self.template is not None:
            return _template_reader(self.template, field)
        if (column := self.column) is None:
            constant = self.constant
            return lambda _row, _number: constant
        if (values := self.values) is not None:
            return lambda row, _: values.get(text := text_of(row.get(column), field), text)
        return lambda row, _: text_of(row.get(column), field)

    def plain_reader(self, field: str) -> Reader:
        """The same for a property, where a number of the file stays a number."""
        if (column := self.column) is None or self.values is not None:
            return self.reader(field)
        return lambda row, _: plain_of(row.get(column), field)


class TimeSource(Spec):
    """A moment, by the `format` it is written in.

    `iso` is ISO 8601 (or seconds in digits), `s`, `ms` and `us` are units since 1970, all else
    is a strptime pattern. `zone` is where times without an offset were taken.
    """

    column: str
    format: str = "iso"
    zone: str = "UTC"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.format != "iso" and self.format not in _UNITS and "%" not in self.format:
            raise ValueError("`format` is iso, s, ms, us or a pattern such as '%d.%m.%Y %H:%M'")
        if zone_of(self.zone) is None:
            raise ValueError(f"{self.zone!r} is no IANA time zone such as Europe/Berlin")
        return self

    def columns(self) -> list[str]:
        """The columns it reads."""
        return [self.column]

    def reader(self, field: str) -> Reader:
        """As a function of a row that gives an aware time, seconds, or what cannot be read."""
        zone = zone_of(self.zone)
        column = self.column
        parse: Callable[[Any, str], Any] = self._since if self.format in _UNITS else self._written

        def read(row: Row, _: int) -> Any:
            cell = row.get(column)
            if is_missing(cell):
                return None
            if isinstance(cell, date) and not isinstance(cell, datetime):
                cell = datetime(cell.year, cell.month, cell.day, tzinfo=zone)
            moment = cell if isinstance(cell, datetime) else parse(cell, field)
            if isinstance(moment, datetime) and moment.tzinfo is None:
                return moment.replace(tzinfo=zone)
            return moment

        return read

    def _since(self, cell: Any, field: str) -> datetime:
        try:
            exact = cell if isinstance(cell, int) else number_of(cell, field)
            if isinstance(cell, str) and cell.strip().isdecimal():
                exact = int(cell)
            return _EPOCH + _UNITS[self.format] * (exact or 0)
        except (ValueError, OverflowError, EventRejectedError):
            raise _bad_time(field, cell, f"the mapping says `{self.format}` since 1970") from None

    def _written(self, cell: Any, field: str) -> Any:
        text = text_of(cell, field)
        try:
            if self.format != "iso":
                return datetime.strptime(text, self.format)  # noqa: DTZ007 - `read` adds the zone
            if isinstance(cell, int | float | Decimal) or _SECONDS_TEXT.fullmatch(text):
                return float(cell)
            return datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            raise _bad_time(field, cell, f"the mapping says `{self.format}`") from None


class NumberSource(Spec):
    """A number from one column, a constant, or the product of columns and constants."""

    column: str | None = None
    constant: float | None = None
    multiply: list[str | float] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        exactly_one(self, "column", "constant", "multiply")
        return self

    def columns(self) -> list[str]:
        """The columns it reads."""
        if self.multiply is not None:
            return [factor for factor in self.multiply if isinstance(factor, str)]
        return [] if self.column is None else [self.column]

    def reader(self, field: str) -> Reader:
        """As a function of a row; a product of which a factor is missing gives nothing."""
        columns = self.columns()
        factors = [factor for factor in self.multiply or [] if isinstance(factor, float)]
        start = 1.0 if self.constant is None else self.constant

        def read(row: Row, _: int) -> float | None:
            product = start
            for factor in factors:
                product *= factor
            for column in columns:
                number = number_of(row.get(column), field)
                if number is None:
                    return None
                product *= number
            return product

        return read


def exactly_one(source: BaseModel, *names: str) -> None:
    """Refuse a source that has none or several of its possible origins."""
    given = [name for name in names if getattr(source, name) is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of " + ", ".join(f"`{name}`" for name in names))


def _template_reader(template: str, field: str) -> Reader:
    names = _PLACEHOLDER.findall(template)
    pieces = _PLACEHOLDER.split(template)[::2]

    def read(row: Row, number: int) -> str:
        text = pieces[0]
        for name, piece in zip(names, pieces[1:], strict=True):
            part = str(number) if name == ROW_NUMBER else text_of(row.get(name), field)
            if not part:
                return ""
            text += part + piece
        return text

    return read


def _bad_time(field: str, cell: object, remedy: str) -> EventRejectedError:
    return EventRejectedError(RejectReason.BAD_TIME, field, cell, remedy)


def _short_text(value: object) -> object:
    """Let `column` or `"{a}-{b}"` stand for the long form."""
    if not isinstance(value, str):
        return value
    return {"template" if _PLACEHOLDER.search(value) else "column": value}


def short_column(value: object) -> object:
    """Let `column` stand for `{column: column}`."""
    return {"column": value} if isinstance(value, str) else value


Text = Annotated[TextSource, BeforeValidator(_short_text)]
Time = Annotated[TimeSource, BeforeValidator(short_column)]
Number = Annotated[NumberSource, BeforeValidator(short_column)]
