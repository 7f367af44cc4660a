"""What the packed store asks of Redis besides rows: that nothing is evicted, cleared rows go."""

import logging
from collections.abc import Iterator
from typing import Final

from features.errors import StoreUnavailableError
from features.redis_link import RedisLink
from features.redis_scripts import LEFTOVERS

LOG: Final = logging.getLogger("opportune.online")
_AT_ONCE: Final = 1_000


def refuse_eviction(link: RedisLink) -> None:
    """Refuse a Redis that may drop rows while the progress stays: the stream would go on without.

    What was evicted before can only be told of, not which keys.

    Raises:
        StoreUnavailableError: Its `maxmemory-policy` is another than `noeviction`.
    """
    told = link.run("INFO", "memory") + link.run("INFO", "stats")
    lines = dict(line.split(":", 1) for line in told.decode().split() if ":" in line)
    policy = lines.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        problem = f"maxmemory-policy is {policy}: Redis may drop states when memory is short"
        remedy = "run `CONFIG SET maxmemory-policy noeviction` and then `opportune materialize`"
        raise StoreUnavailableError(link.shown, problem, remedy)
    if int(lines.get("evicted_keys", "0")):
        LOG.warning(
            "%s has evicted %s keys since it started; if states were among them, their history "
            "is missing until `opportune materialize`",
            link.shown,
            lines["evicted_keys"],
        )


def names_like(link: RedisLink, pattern: str) -> Iterator[bytes]:
    """Names of keys that match; one may come twice. Looks at every key there is."""
    cursor: bytes | str = "0"
    while True:
        cursor, names = link.run("SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE)
        yield from names
        if int(cursor) == 0:
            return


def remove(link: RedisLink, space: str) -> None:
    """Give back the memory of a space that is not in use; Redis frees it beside its work."""
    names = sorted(set(names_like(link, f"opp:{space}[:!]*")))
    for start in range(0, len(names), _AT_ONCE):
        link.run("UNLINK", *names[start : start + _AT_ONCE])
    link.run("SREM", LEFTOVERS, space)


def remove_leftovers(link: RedisLink) -> None:
    """Remove cleared spaces, those included that a crash has left."""
    for space in link.run("SMEMBERS", LEFTOVERS):
        remove(link, space.decode())
