"""A mapping at work: one row in, the raw fields of one event out."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from features.errors import MappingInvalidError
from features.events.cells import Row, object_of, text_of
from features.events.mapping import KEY_FIELD, Mapping, PropertiesSource

Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that a `keep` condition left out on purpose."""

    condition: str


class RowMapper:
    """A mapping turned into one function of a row; made once per file.

    Raises:
        MappingInvalidError: The key is to be hashed and there is no secret.
    """

    def __init__(self, mapping: Mapping, *, key_secret: str | None) -> None:
        sources = mapping.sources()
        properties: PropertiesSource = sources.pop("properties")
        self._keep = [(condition.check(), Skipped(condition.text)) for condition in mapping.keep]
        self._key = sources.pop(KEY_FIELD).reader(KEY_FIELD)
        self._readers = [(name, source.reader(name)) for name, source in sources.items()]
        self._properties = _properties_reader(properties)
        self._secret = _secret(key_secret) if mapping.hash_recipient_key else None

    def raw_of(self, row: Row, number: int) -> Raw | Skipped:
        """The fields for `parse_event`, or the condition that the row fails.

        Raises:
            EventRejectedError: A cell cannot be read as what the mapping says it is.
        """
        for passes, skipped in self._keep:
            if not passes(row):
                return skipped
        key = self._key(row, number)
        if self._secret is not None:
            key = _hashed(text_of(key, KEY_FIELD), self._secret)
            row = {**row, KEY_FIELD: key}
        raw: Raw = {KEY_FIELD: key}
        for name, read in self._readers:
            raw[name] = read(row, number)
        if self._properties is not None:
            raw["properties"] = self._properties(row, number)
        if raw.get("received_at") is None:
            raw["received_at"] = raw["occurred_at"]
        return raw


def _properties_reader(source: PropertiesSource) -> Callable[[Row, int], Raw] | None:
    if (column := source.column) is not None:
        return lambda row, _: object_of(row.get(column), "properties")
    if not source.each:
        return None
    readers = [
        (name, each.plain_reader(f"properties.{name}")) for name, each in source.each.items()
    ]

    def read(row: Row, number: int) -> Raw:
        found = ((name, read_one(row, number)) for name, read_one in readers)
        return {name: value for name, value in found if value not in (None, "")}

    return read


def _secret(key_secret: str | None) -> bytes:
    if not key_secret:
        raise MappingInvalidError(
            "mapping", "`hash_recipient_key` needs a secret and there is none",
            "set OPPORTUNE_KEY_SECRET to the secret with which your sender hashes addresses",
        )  # fmt: skip
    return key_secret.encode()


def _hashed(key: str, secret: bytes) -> str:
    """HMAC-SHA256 of the lower-cased key, its first 32 hexadecimal digits; "" stays ""."""
    if not key:
        return ""
    return hmac.new(secret, key.lower().encode(), hashlib.sha256).hexdigest()[:32]
