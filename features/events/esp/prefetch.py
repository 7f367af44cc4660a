"""Who opened, where the provider does not say: the user agents that fetch images for people.

A proxy's fetch may be a person at that moment or nobody: it is unknown, which teaches nothing.
"""

from typing import Final

from features.events.schema import Actor
from features.events.schema import EventType as E

_APPLE: Final = "mozilla/5.0"  # Mail Privacy Protection says nothing more
_PROXIES: Final = ("googleimageproxy", "yahoomailproxy", "ggpht.com", "outlook-ios-prefetch")
_SCANNERS: Final = ("barracuda", "proofpoint", "mimecast", "safelinks", "headless", "curl/", "bot")


def opener(kind: E | None, user_agent: str) -> tuple[Actor | None, tuple[str, ...]]:
    """The actor of an open or a click and why; None for other events.

    >>> opener(E.OPENED, "Mozilla/5.0")
    (<Actor.UNKNOWN: 'unknown'>, ('agent_privacy_proxy',))
    """
    if kind not in (E.OPENED, E.CLICKED):
        return None, ()
    agent = user_agent.strip().lower().replace("cubot", "")  # a maker of phones
    if any(name in agent for name in _SCANNERS):
        return Actor.MACHINE, ("agent_scanner",)
    if kind is E.OPENED:
        if agent == _APPLE:
            return Actor.UNKNOWN, ("agent_privacy_proxy",)
        if not agent or any(name in agent for name in _PROXIES):
            return Actor.UNKNOWN, ("agent_image_proxy",) if agent else ("agent_missing",)
    return Actor.HUMAN, ()
