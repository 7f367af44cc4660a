"""Token buckets: how many calls each key may still make. Per process, in memory, one thread."""

from dataclasses import dataclass
from typing import Final

MINUTE_S: Final = 60.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """A bucket per key, full at first; it fills up evenly.

    Law: in any span of s seconds at most `per_minute * (1 + s / 60)` calls are let through.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, _Bucket] = {}  # as many as there are keys in the file

    def take(self, key_id: str, per_minute: int, *, at: float) -> float:
        """Take one call out; gives 0.0, or the seconds until there is one.

        Args:
            per_minute: How many the bucket holds, and how many come back in a minute.
            at: Seconds that only go forward.
        """
        bucket = self._by_key.setdefault(key_id, _Bucket(float(per_minute), at))
        refilled = bucket.tokens + (at - bucket.at) * per_minute / MINUTE_S
        bucket.tokens, bucket.at = min(refilled, float(per_minute)), at
        if bucket.tokens < 1.0:
            return (1.0 - bucket.tokens) * MINUTE_S / per_minute
        bucket.tokens -= 1.0
        return 0.0
