"""Stops asking what does not answer: after a few failures in a row nobody waits for it again.

A store that stands still costs every read its whole timeout, and the event loop with it. Once
open, the breaker answers at once; whether the store is back is for its guard to find out.
"""

import threading
from typing import Final

FAILURES: Final = 2  # in a row; with a store's 30 ms each, the loop has then stood for 60


class Breaker:
    """Open after `FAILURES` failures in a row, closed by the next success; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self.is_open = False  # whether what it guards must not be asked

    def succeeded(self) -> bool:
        """Note a success; whether it closes an open breaker."""
        if not self._in_a_row:  # the usual case, without the lock
            return False
        with self._lock:
            self._in_a_row = 0
            was_open, self.is_open = self.is_open, False
            return was_open

    def failed(self) -> bool:
        """Note a failure; whether it opens a closed breaker."""
        with self._lock:
            self._in_a_row += 1
            opens = self._in_a_row >= FAILURES and not self.is_open
            self.is_open = self.is_open or opens
            return opens
