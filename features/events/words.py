"""Topics of a text by one rule, for events and for candidates: else they would never meet.

The text itself is kept nowhere. Its words are: a name in a subject line becomes a topic of that
person, an address does not.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

SHORTEST, LONGEST, MOST = 3, 64, 8  # a longer run of letters is a script without spaces
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_ADDRESS: Final = re.compile(r"\S*(?:@|%40)\S*")
# Words that stand in any subject line would be everybody's strongest interest. English and few on
# purpose: sender and asker have to agree, so a list can never grow without parting them.
_COMMON: Final = """
    all and any are but can for from get has have here how its just more not now off one only our
    out than that the their them they this today was what when who why will with you your
"""
STOP_WORDS: Final = frozenset(_COMMON.split())


def words_of(
    text: str, *, shortest: int = SHORTEST, most: int = MOST, stop: Collection[str] = STOP_WORDS
) -> tuple[str, ...]:
    """The first different words of letters, lower-cased.

    >>> words_of("Your order: 2 T-lights, lights & more, ask ana@example.com")
    ('order', 'lights', 'ask')
    """
    words = dict.fromkeys(_LETTERS.findall(_ADDRESS.sub(" ", text).lower()))
    kept = (word for word in words if shortest <= len(word) <= LONGEST and word not in stop)
    return tuple(kept)[:most]


@lru_cache(maxsize=4_096)
def topics_of(text: str) -> tuple[str, ...]:
    """The topics of an item's name or a subject line, wherever it is met."""
    return words_of(text)
