"""What is asked about everybody of an audience: a YAML file with the fields of a score request.

Every scalar is read as the text it is, so that `start: 21:00` and `send_id: 007` mean what they
look like; the schema of the API makes times, numbers and truths of them. Only `null`, `~` and
nothing are no text: such a field is not given. A field that stands twice is refused.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import Field, ValidationError

from features.errors import FileUnusableError, shown
from serving.http.request_schemas import ScoreRequest
from serving.http.rule_schemas import ThrottleIn

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ANYBODY: Final = "somebody"  # stands for the key of a recipient where there is none yet


class _Texts(yaml.BaseLoader):
    """YAML as texts, less the fields without a value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  as PyYAML calls it
        names = [name.value for name, _ in node.value]
        for place, name in enumerate(names):
            if name in names[:place]:
                problem = f"the field {name} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        told = super().construct_mapping(node, deep=deep)
        return {name: value for name, value in told.items() if value is not None}


_NULL: Final = "tag:yaml.org,2002:null"
_Texts.add_implicit_resolver(_NULL, re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Texts.add_constructor(_NULL, lambda *_: None)


class Send(ScoreRequest):
    """What all of an audience share, under a key that is nobody's."""

    throttle: ThrottleIn | None = Field(None, description="How many mails an hour takes.")

    def request(self) -> bytes:
        """What is asked about each of them, as JSON."""
        return self.model_dump_json(exclude_unset=True, exclude={"throttle"}).encode()


# The key is each recipient's own, and there is no column for explanations.
FIELDS: Final = tuple(
    name for name in Send.model_fields if name not in {"recipient_key", "explain"}
)
_REMEDY: Final = f"give `send_id` and what you like of {', '.join(FIELDS[1:])}"


def read_send(file: Path) -> Send:
    """What a file asks about everybody.

    Raises:
        FileUnusableError: It cannot be read, a field is not ours, or a value does not fit; the
            error names field and remedy.
    """
    try:
        told: Any = yaml.load(file.read_bytes(), Loader=_Texts)  # noqa: S506  texts only
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileUnusableError(str(file), str(error), "write YAML, " + _REMEDY) from error
    if not isinstance(told, dict):
        raise FileUnusableError(str(file), "is not fields with values", _REMEDY)
    unknown = [str(name) for name in told if name not in FIELDS]
    if unknown:
        raise FileUnusableError(str(file), f"there is no field {unknown[0]}", _REMEDY)
    if not told.get("send_id"):
        problem = "there is no send_id, by which a mail rendered later is decided the same"
        raise FileUnusableError(str(file), problem, "add one, such as `send_id: spring-24`")
    try:
        return Send.model_validate({**told, "recipient_key": ANYBODY})
    except ValidationError as error:
        raise FileUnusableError(str(file), mistakes_of(error), "see docs/api.md, asking") from error


def mistakes_of(error: ValidationError) -> str:
    """Where and what, in one line; the file is the caller's own, so its names are repeated."""
    return "; ".join(_mistake(item) for item in error.errors(include_url=False)[:5])


def _mistake(item: "ErrorDetails") -> str:
    """The place, the value where it is a plain one, and what is wrong with it."""
    place = ".".join(map(str, item["loc"])) or "the request"
    value = "" if isinstance(item["input"], dict) else f" = {shown(item['input'])}"
    return f"{place}{value}: {item['msg'].removeprefix('Value error, ')}"
