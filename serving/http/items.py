"""The items of one call as asks: candidates that many of them name are checked and made once.

A mailing asks about the same candidates for everybody. To compare what was said of them with what
the item before said takes a tenth of checking it anew, and asks that share the very same candidates
are ranked together (`serving.ranking`).
"""

from typing import Any, Final

import orjson

from serving.asks import Ask
from serving.http.answers import ask_of
from serving.http.request_schemas import ScoreRequest

_CANDIDATES: Final = "candidates"


class ItemReader:
    """Reads the items of one call, one after the other."""

    def __init__(self) -> None:
        self._said: Any = None
        self._last = Ask("")

    def ask(self, item: Any) -> Ask:
        """An item as the scorer takes it.

        Args:
            item: As JSON has it, or its bytes.

        Raises:
            ValidationError: It does not fit.
        """
        if isinstance(item, bytes):
            try:
                item = orjson.loads(item)
            except orjson.JSONDecodeError:
                return ask_of(ScoreRequest.model_validate_json(item))  # which says what is wrong
        said = item.get(_CANDIDATES) if isinstance(item, dict) else None
        if not said or said != self._said:
            ask = ask_of(ScoreRequest.model_validate(item))
            if said:
                self._said, self._last = said, ask
            return ask
        rest = {name: value for name, value in item.items() if name != _CANDIDATES}
        return ask_of(ScoreRequest.model_validate(rest), self._last.candidates)
