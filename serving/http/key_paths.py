"""Recipient keys as the last part of a path: whatever they hold, percent-encoded it is only a key.

Frameworks decode a path before they look for its route. A key `x/export` would then lead to what
belongs to `x`, and one with a line break nowhere. So these routes are looked for in the path as it
was sent, and the key is decoded after that. A slash that nobody encoded is part of a key as well.
"""

from typing import Final
from urllib.parse import quote, unquote

from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Scope

KEY: Final = "{recipient_key:key}"


class _Key(Convertor[str]):
    regex = ".*"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


_CONVERTOR: Final = _Key()
register_url_convertor("key", _CONVERTOR)


class KeyRoute(APIRoute):
    """A route that is found by the path as it was sent where a key is part of it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As starlette has it."""
        if _CONVERTOR in self.param_convertors.values():
            sent = scope.get("raw_path") or quote(scope["path"]).encode()
            scope = {**scope, "path": sent.decode("latin-1")}
        return super().matches(scope)
