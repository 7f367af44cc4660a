"""What a mail was read or clicked on: one of four classes, from a user agent or a plain word.

Failure mode: an iPad that asks for the desktop site and a Mac say the same, so it counts as a
desktop; an image proxy hides the device, which is then `other`.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final


class Device(StrEnum):
    """What an event was done with. The order is part of the event codes."""

    OTHER = "other"
    MOBILE = "mobile"
    TABLET = "tablet"
    DESKTOP = "desktop"


# The first that is found decides.
_MARKS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), found)
    for pattern, found in (
        (r"imageproxy|mailproxy|smart-?tv|crkey|appletv|playstation|xbox", Device.OTHER),
        (r"ipad|tablet|kindle|silk/|playbook", Device.TABLET),
        (r"iphone|ipod|mobile|phone|handset|outlook-android|dalvik|opera mini", Device.MOBILE),
        (r"android", Device.TABLET),  # a phone's browser would also have said `Mobile`
        (r"windows|macintosh|mac os x|x11|cros |linux", Device.DESKTOP),
        (r"\b(desktop|computer|laptop|pc)\b", Device.DESKTOP),
    )
)


@lru_cache(maxsize=4096)
def device_class(text: str) -> str:
    """The class of a device, of a user agent or a plain word such as "mobile" or "Desktop".

    >>> device_class("Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Mobile/15E148")
    'mobile'
    >>> device_class("Tablet"), device_class("Mozilla/5.0"), device_class("")
    ('tablet', 'other', 'other')
    """
    return next((found for mark, found in _MARKS if mark.search(text)), Device.OTHER).value
