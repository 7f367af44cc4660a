"""What a user agent says of who acted: the one door to the list of crawlers.

A proxy's fetch may be a person at that moment or nobody: it is unknown, which teaches nothing.
Failure mode: most scanners of links call themselves Chrome on Windows; only their haste tells
them (`actors`). An agent that nobody knows is taken for a person's.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

from crawleruseragents import is_crawler  # type: ignore[import-untyped]

from features.events.schema import Actor
from features.events.schema import EventType as E


class Agent(StrEnum):
    """What kind of program a user agent is; the value is the reason it gives a label."""

    PERSON = ""
    MISSING = "agent_missing"
    PRIVACY_PROXY = "agent_privacy_proxy"
    IMAGE_PROXY = "agent_image_proxy"
    SCANNER = "agent_scanner"


_APPLE: Final = "mozilla/5.0"  # Mail Privacy Protection says nothing more
_GMAIL_AHEAD: Final = "edge/12.246 mozilla/5.0"  # no browser repeats its first word at the end
_PROXIES: Final = re.compile(r"googleimageproxy|yahoomailproxy|ggpht\.com|outlook-ios-prefetch")
# Gateways that the list, which is one of web crawlers, does not know. A Cubot is a phone.
_GATEWAYS: Final = re.compile(
    r"barracuda|proofpoint|mimecast|safelinks|ciscosecure|messagelabs|trendmicro|fortimail"
    r"|existence discovery|headless|(?<!cu)bot\b|crawler|spider"
)


@lru_cache(maxsize=8192)
def agent_of(user_agent: str) -> Agent:
    """What kind of program fetched an image or followed a link.

    >>> agent_of("Mozilla/5.0 (via ggpht.com GoogleImageProxy)")
    <Agent.IMAGE_PROXY: 'agent_image_proxy'>
    """
    agent = user_agent.strip().lower()
    if not agent:
        return Agent.MISSING
    if agent == _APPLE:
        return Agent.PRIVACY_PROXY
    if _PROXIES.search(agent) or agent.endswith(_GMAIL_AHEAD):
        return Agent.IMAGE_PROXY
    if _GATEWAYS.search(agent) or is_crawler(user_agent):
        return Agent.SCANNER
    return Agent.PERSON


def opener(kind: E | None, user_agent: str) -> tuple[Actor | None, tuple[str, ...]]:
    """The actor of an open or a click and why, where a provider says nothing; None for others.

    >>> opener(E.OPENED, "Mozilla/5.0")
    (<Actor.UNKNOWN: 'unknown'>, ('agent_privacy_proxy',))
    """
    if kind not in (E.OPENED, E.CLICKED):
        return None, ()
    agent = agent_of(user_agent)
    if agent is Agent.SCANNER:
        return Actor.MACHINE, (agent.value,)
    if agent is Agent.PERSON or kind is E.CLICKED:  # nobody clicks ahead through an image proxy
        return Actor.HUMAN, ()
    return Actor.UNKNOWN, (agent.value,)
