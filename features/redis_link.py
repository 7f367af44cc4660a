"""The one door to the Redis client: a connection per thread, bounded waits, no retries.

A command that Redis does not answer in time is an error at once: what to do then is for the
caller to say, not for a client that tries again while a mail waits. No error shows the
password of the address.
"""

import hashlib
import threading
from typing import Any, Final

from redis import connection as client
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from features.errors import StoreUnavailableError

ALLOWED_OPTIONS: Final = ("db", "ssl_")
REMEDY: Final = (
    "check that Redis runs at this address, takes our password and has memory to spare; "
    "OPPORTUNE_ONLINE_STORE names it"
)


class Script:
    """A Lua script, sent in full only where Redis does not know it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Commands to one Redis; every thread has a connection of its own.

    Args:
        address: `redis://`, `rediss://` (TLS) or `unix://`, with user, password and database.
        timeout_s: How long to wait for a connection and for each answer.

    Raises:
        StoreUnavailableError: The address is none, or Redis cannot be reached, does not answer
            in time or refuses a command.
    """

    def __init__(self, address: str, *, timeout_s: float) -> None:
        self.shown, options = _parsed(address)
        self._secret = str(options.get("password", ""))
        self._kind = options.pop("connection_class", client.Connection)
        self._options: dict[str, Any] = options | {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,  # two questions less when a connection is made
        }
        self._local = threading.local()
        self._opened: list[Any] = []
        self._lock = threading.Lock()

    def run(self, *command: str | bytes | int, is_same: bool = False) -> Any:
        """Redis's answer to a command.

        With `is_same` it goes over the connection that the thread's last command used, or fails:
        whoever answers is then the server that answered before.
        """
        connection = self._connection(is_same=is_same)
        try:
            connection.send_command(*command)
            return connection.read_response()
        except ResponseError as error:  # an answer too: the connection is in order
            raise self._error(error) from error
        except (RedisError, OSError) as error:
            self._drop(connection)
            raise self._error(error) from error

    def script(
        self, script: Script, keys: list[str], values: list[str | bytes], *, is_same: bool = False
    ) -> Any:
        """A script's answer."""
        rest = (len(keys), *keys, *values)
        try:
            return self.run("EVALSHA", script.sha, *rest, is_same=is_same)
        except StoreUnavailableError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return self.run("EVAL", script.text, *rest, is_same=is_same)

    def close(self) -> None:
        """Close every thread's connection; the next command opens another."""
        with self._lock:
            for connection in self._opened:
                connection.disconnect()
            self._opened.clear()
        self._local = threading.local()

    def _connection(self, *, is_same: bool) -> Any:
        known: Any = getattr(self._local, "connection", None)
        if is_same:
            if known is None:
                raise self._error("the connection was lost in between")
            return known
        if known is not None and _is_idle(known):
            return known
        if known is not None:
            self._drop(known)
        opened = self._kind(**self._options)
        with self._lock:
            self._opened.append(opened)
        self._local.connection = opened
        return opened

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._local.connection = None
        with self._lock:
            if connection in self._opened:
                self._opened.remove(connection)

    def _error(self, problem: object) -> StoreUnavailableError:
        text = str(problem) or type(problem).__name__
        if self._secret:
            text = text.replace(self._secret, "***")
        return StoreUnavailableError(self.shown, text, REMEDY)


def _is_idle(connection: Any) -> bool:
    """Whether a connection waits for a command: Redis has neither closed it nor sent anything."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False


def _parsed(address: str) -> tuple[str, dict[str, Any]]:
    """An address without its password, and the client's options."""
    scheme, _, rest = address.partition("://")
    secret, _, place = rest.rpartition("@")
    shown = f"{scheme}://{'...' if '?' in secret else place.partition('?')[0]}"
    parse: Any = client.parse_url
    try:
        options = parse(address)
    except ValueError:  # its message may hold the password
        options = {}
    named = address.partition("?")[2].split("&") if "?" in address else []
    foreign = [name.partition("=")[0] for name in named if not name.startswith(ALLOWED_OPTIONS)]
    if not options or foreign:
        problem = f"takes no option {foreign[0]}" if foreign else "is no address of a Redis"
        remedy = "write redis://user:password@host:6379/0, percent-encoding what is no letter"
        raise StoreUnavailableError(shown, problem, remedy)
    return shown, options
