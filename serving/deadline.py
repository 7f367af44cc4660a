"""By when a call must be answered: the setting, lowered by the caller, counted from its arrival.

A sender that waits for a render skips the mail when the answer is late. What is not known by the
deadline is therefore answered by the priors, with the reason `deadline`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ITEM_S: Final = 0.002  # what each item of a batch adds to the deadline of a single call


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a call may take, from the moment it arrived.

    Args:
        arrived_at: Seconds of `monotonic`.
        within_s: Seconds from then; infinite for who can wait.
    """

    arrived_at: float
    within_s: float
    monotonic: Callable[[], float] = time.monotonic

    @property
    def ends_at(self) -> float:
        """When it is over, seconds of `monotonic`."""
        return self.arrived_at + self.within_s

    def waited_s(self) -> float:
        """Seconds since the call arrived."""
        return self.monotonic() - self.arrived_at

    def left_s(self) -> float:
        """Seconds until it is over; negative from then on."""
        return self.within_s - self.waited_s()

    def is_over(self) -> bool:
        """Whether it is too late for anything but the priors."""
        return self.left_s() <= 0.0


NEVER: Final = Deadline(0.0, math.inf)


def asked_s(header: bytes) -> float | None:
    """Seconds that a caller's `X-Deadline-Ms` gives; None where it is no positive number.

    >>> asked_s(b"80"), asked_s(b"soon"), asked_s(b"-1"), asked_s(b"nan")
    (0.08, None, None, None)
    """
    try:
        given = float(header)
    except ValueError:
        return None
    return given / 1_000 if given > 0.0 and math.isfinite(given) else None
