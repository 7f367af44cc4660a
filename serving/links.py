"""Links that score without an API key: signed, and over soon.

A mail provider that fetches a URL while it renders can often send no header, and keeps the URL in
its log for weeks. Such a URL carries the moment it ends and an HMAC-SHA256 over method, path and
query, so that it asks what its maker wrote into it, about one recipient, for a while.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, urlencode

from features.events.schema import MAX_KEY_CHARS
from serving.errors import NotARecipientError

RENDER: Final = "/v1/render/"
EXPIRES: Final = "expires"
SIGNATURE: Final = "sig"
MAX_LINK_S: Final = 31 * 86_400  # one that never ends would be a key
_METHOD: Final = "GET"

Pairs = Iterable[tuple[str, str]]


def render_link(url: str, recipient_key: str, query: Pairs, *, secret: str, expires_at: int) -> str:
    """A signed link to `GET /v1/render/{recipient_key}`.

    Args:
        url: Where the service is, such as `https://score.example`.
        query: Names and values as the route has them, such as `send_id` and `items`.
        expires_at: Seconds since 1970; at most 31 days away, or the service refuses it.

    Raises:
        NotARecipientError: The service would refuse the key.
    """
    if "@" in recipient_key:
        problem = "the key looks like an address; use an opaque key such as a keyed hash of it"
        raise NotARecipientError(problem)
    if not 1 <= len(recipient_key) <= MAX_KEY_CHARS:
        problem = f"the key has {len(recipient_key)} characters; give one of 1 to {MAX_KEY_CHARS}"
        raise NotARecipientError(problem)
    pairs = [*query, (EXPIRES, str(expires_at))]
    pairs.append((SIGNATURE, signature_of(recipient_key, pairs, secret=secret)))
    return f"{url.rstrip('/')}{_path(recipient_key)}?{urlencode(pairs)}"


def is_signed(recipient_key: str, query: Pairs, *, secret: str, now: int) -> bool:
    """Whether a query carries a signature for it that holds at a moment, in seconds since 1970.

    Whatever is wrong with it takes the same time.
    """
    pairs = list(query)
    given = [value for name, value in pairs if name == SIGNATURE]
    expires = [value for name, value in pairs if name == EXPIRES]
    wanted = signature_of(recipient_key, pairs, secret=secret)
    is_same = hmac.compare_digest(wanted.encode(), "".join(given).encode())
    return is_same and len(expires) == 1 and _is_on(expires[0], now)


def signature_of(recipient_key: str, query: Pairs, *, secret: str) -> str:
    """HMAC-SHA256 in hex over the method, the path and the sorted query without a signature."""
    signed = sorted((name, value) for name, value in query if name != SIGNATURE)
    message = "\n".join((_METHOD, _path(recipient_key), urlencode(signed)))
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


def _path(recipient_key: str) -> str:
    return RENDER + quote(recipient_key, safe="")


def _is_on(expires: str, now: int) -> bool:
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
        return False
    return now < int(expires) <= now + MAX_LINK_S
