"""What is asked of a score as asks: candidates that many asks name are checked and made once.

A mailing asks about the same candidates for everybody. To compare what was said of them with what
was said before takes a tenth of checking it anew, and asks that share the very same candidates are
ranked together (`serving.ranking`).
"""

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import orjson

from serving.asks import Ask
from serving.http.answers import ask_of
from serving.http.request_schemas import ScoreRequest

if TYPE_CHECKING:
    from features.candidates import Candidate

KEPT: Final = 8  # mailings, or places of a mail, whose candidates are remembered
_CANDIDATES: Final = "candidates"


class ItemReader:
    """Reads asks, one after the other."""

    def __init__(self) -> None:
        self._known: deque[tuple[Any, tuple[Candidate, ...]]] = deque(maxlen=KEPT)

    def ask(self, item: Any) -> Ask:
        """An ask as the scorer takes it.

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
        if not said:
            return ask_of(ScoreRequest.model_validate(item))
        for known, candidates in self._known:
            if said == known:
                rest = {name: value for name, value in item.items() if name != _CANDIDATES}
                return ask_of(ScoreRequest.model_validate(rest), candidates)
        ask = ask_of(ScoreRequest.model_validate(item))
        self._known.appendleft((said, ask.candidates))
        return ask
