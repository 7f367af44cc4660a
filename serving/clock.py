"""What time it is: the one place of the service that looks."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def system_clock() -> int:
    """Microseconds since 1970 in UTC."""
    return time.time_ns() // 1_000
