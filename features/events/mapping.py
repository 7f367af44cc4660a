"""A mapping: how the rows of somebody else's file become events.

It is written in YAML. Per field of `Event` it names a column, a template of columns such as
`"{order}-{line}"` (`{row}` is the number of the row in the file), a `constant:`, or a small
object that says more (see `sources` and `topics`). An example:

    event_id: "{order}-{row}"
    type: {column: action, values: {open: opened, click: clicked}}
    recipient_key: email
    hash_recipient_key: true
    occurred_at: {column: at, format: "%d.%m.%Y %H:%M", zone: Europe/Berlin}
    topics: {column: title, words: {max: 6}}
    value: {multiply: [quantity, price]}
    channel: {constant: web}
    keep:
      - {column: quantity, above: 0}

Where no `received_at` is mapped, a row counts as learnt when it happened (`received_at =
occurred_at`), because the system that exported it knew it then: a backtest over imported
history sees each event at its time and not all of them today.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from features.errors import EventRejectedError, MappingInvalidError
from features.events.conditions import Condition
from features.events.schema import FIELDS, parse_event
from features.events.sources import Number, Spec, Text, TextSource, Time
from features.events.topics import Topics

KEY_FIELD: Final = "recipient_key"
REQUIRED: Final = ("event_id", "type", "recipient_key", "occurred_at")
_LARGEST_BYTES: Final = 1_000_000


class PropertiesSource(Spec):
    """Properties from one column that holds a JSON object, or each from a source of its own."""

    column: str | None = None
    each: dict[str, Text] = Field(default_factory=dict)

    def columns(self) -> list[str]:
        """The columns it reads."""
        whole = [] if self.column is None else [self.column]
        return [*whole, *(name for source in self.each.values() for name in source.columns())]


def _properties(value: object) -> object:
    return {"column": value} if isinstance(value, str) else {"each": value}


class CsvDialect(Spec):
    """How a CSV file is written, where it is not UTF-8 with commas."""

    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _lines_are_bytes(self) -> Self:
        try:
            if "\n,".encode(self.encoding) == b"\n,":
                return self
        except LookupError:
            pass
        raise ValueError(f"{self.encoding!r} is no encoding such as utf-8, cp1252 or latin-1")


class Mapping(Spec):
    """What each field of an event is made from; the module describes the YAML."""

    model_config = ConfigDict(title="mapping")

    event_id: Text
    type: Text
    recipient_key: Text
    occurred_at: Time
    received_at: Time | None = None
    send_id: Text | None = None
    message_key: Text | None = None
    content_id: Text | None = None
    topics: Topics | None = None
    text: Text | None = None
    url: Text | None = None
    value: Number | None = None
    currency: Text | None = None
    channel: Text | None = None
    utc_offset_min: Number | None = None
    timezone: Text | None = None
    device: Text | None = None
    actor: Text | None = None
    actor_reasons: Topics | None = None
    provider: Text | None = None
    properties: Annotated[PropertiesSource, BeforeValidator(_properties)] = PropertiesSource()
    keep: tuple[Condition, ...] = ()
    hash_recipient_key: bool = False
    optional_columns: tuple[str, ...] = ()
    csv: CsvDialect = CsvDialect()

    @model_validator(mode="after")
    def _constants_are_legal(self) -> Self:
        """Try the constants and the `values` of `type` on an event: a typo shows up at once."""
        sources = {name: getattr(self, name) for name in FIELDS if hasattr(self, name)}
        constants = {
            name: source.constant
            for name, source in sources.items()
            if isinstance(source, TextSource) and source.constant is not None
        }
        kinds = list((self.type.values or {}).values()) or [constants.get("type", "sent")]
        for kind in kinds:
            probe = {"event_id": "-", "recipient_key": "-", "occurred_at": 10**9, **constants}
            try:
                parse_event({**probe, "type": kind}, received_at=10**15)
            except EventRejectedError as error:
                raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _hashed_columns_stay_inside(self) -> Self:
        """A column that is hashed because it is personal must not leave by another field."""
        if self.hash_recipient_key:
            hashed = set(self.recipient_key.columns())
            for name, source in self.sources().items():
                if name != KEY_FIELD and hashed & set(source.columns()):
                    column = min(hashed & set(source.columns()))
                    raise ValueError(
                        f"`{name}` would store {column!r}, which is hashed for the key; "
                        "write {recipient_key} in a template to use the hashed key"
                    )
        return self

    def sources(self) -> dict[str, Any]:
        """The source of each field that is mapped, in the order of the fields."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in FIELDS}
        return {name: source for name, source in given.items() if source is not None}

    def columns(self) -> set[str]:
        """The columns the mapping reads."""
        names = {name for source in self.sources().values() for name in source.columns()}
        if self.hash_recipient_key and KEY_FIELD not in self.recipient_key.columns():
            names.discard(KEY_FIELD)  # in a template it means the hashed key
        return names | {condition.column for condition in self.keep}

    def check_columns(self, file: str, found: Sequence[str]) -> None:
        """Refuse a file that lacks a column, before anything of it is read.

        Raises:
            MappingInvalidError: It names the columns that are missing and those there are.
        """
        missing = sorted(self.columns() - set(found) - set(self.optional_columns))
        if missing:
            raise MappingInvalidError(
                file, f"the mapping names columns that the file lacks: {', '.join(missing)}",
                f"the file has: {', '.join(found)} (a fixed value is written {{constant: ...}}; "
                "a column that may be absent goes under optional_columns)",
            )  # fmt: skip


def default_mapping(file: str, found: Sequence[str]) -> Mapping:
    """The mapping of a file whose columns are called as our fields.

    Lists may be JSON or `a|b`, properties a JSON object.

    Raises:
        MappingInvalidError: A needed column is absent, or one is not a field of ours.
    """
    missing = [name for name in REQUIRED if name not in found]
    strange = [name for name in found if name not in FIELDS]
    if missing or strange:
        problem = f"without a mapping it needs columns {', '.join(missing)}"
        if not missing:
            problem = f"columns that are no fields of an event: {', '.join(strange)}"
        raise MappingInvalidError(
            file, problem, f"describe its columns by --mapping; it has: {', '.join(found)}"
        )
    return Mapping.model_validate({name: name for name in found if name != "schema_version"})


def load_mapping(path: Path) -> Mapping:
    """Read a mapping from YAML.

    Raises:
        MappingInvalidError: The file cannot be read, is no YAML, has a key that is not known
            (the error lists those that are), or a value that makes no sense.
    """
    name = str(path)
    try:
        text = path.read_text("utf-8")
        if len(text) > _LARGEST_BYTES:
            raise MappingInvalidError(name, "it is over 1 MB", "give the mapping, not the data")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise MappingInvalidError(name, str(error), "give a readable YAML file") from None
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise MappingInvalidError(
            name, f"not YAML: {problem}", "quote texts that hold : { or %"
        ) from None
    if not isinstance(document, dict):
        raise MappingInvalidError(name, "it holds no fields", "write one `field: column` per line")
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        raise _explained(name, error) from None


def _explained(file: str, error: ValidationError) -> MappingInvalidError:
    """One problem in our words: first a key not known, because a typo explains what is missing."""
    problems = error.errors(include_url=False)
    first = next((found for found in problems if found["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in first["loc"] if part != "each")
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(first["loc"][:-1]))
        return MappingInvalidError(file, f"unknown key `{place}`", f"use one of: {allowed}")
    problem = first["msg"].removeprefix("Value error, ")
    return MappingInvalidError(
        file, f"`{place}`: {problem}" if place else problem, "see docs/events.md for the format"
    )


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at a place of the mapping knows."""
    model: type[BaseModel] = Mapping
    for part in loc:
        field = model.model_fields.get(str(part))
        for kind in _models_in(field.annotation if field else None):
            model = kind
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models_in(part)]
