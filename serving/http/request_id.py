"""The id that ties an answer to the log lines of its request."""

import logging
import random
import re
from contextvars import ContextVar
from typing import Final

NONE: Final = "-"
REQUEST_ID: Final = ContextVar("request_id", default=NONE)
# Ids are logged and sent back: nothing may break a line, and nobody's API key passes for one.
_SANE: Final = re.compile(rb"(?!opp_)[A-Za-z0-9._-]{1,64}")


def id_of(given: bytes) -> str:
    """The caller's own id if it is sane, else one of ours.

    >>> id_of(b"mailer-7.42")
    'mailer-7.42'
    >>> len(id_of(b"two words"))
    16
    """
    return given.decode() if _SANE.fullmatch(given) else f"{random.getrandbits(64):016x}"


class WithRequestId(logging.Filter):
    """Gives every log record the id of the request it was written for."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through."""
        record.request_id = REQUEST_ID.get()
        return True
