"""What a batch of events says in words, the zone and the profile; few events say anything new."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.block import Block
from features.decay import NEVER_AT
from features.definitions.profile import (
    ATTRIBUTES,
    CONSENT,
    CONSENTS,
    MAX_ATTRIBUTE_CHARS,
    N_WORDS,
    consent_word,
)
from features.events.schema import Event

Array = NDArray[Any]
Profile = tuple[Array, Array, Array]
_TOLD: Final = frozenset(ATTRIBUTES)


def told_by(
    events: Sequence[Event], rows: Array, head: Array, block: Block
) -> tuple[Profile, list[bytes]]:
    """Profile times and texts with what the events say; the zones go into `head`."""
    words = _Words(block)
    zones: dict[int, tuple[int, int, str]] = {}
    for row, event in zip(rows.tolist(), events, strict=True):
        if event.utc_offset_min is not None:
            told = event.occurred_at, event.utc_offset_min, event.timezone
            if row not in zones or told > zones[row]:
                zones[row] = told
        if _says_words(event):
            words.hear(row, event)
    times, offsets = head["zone_at"].tolist(), head["zone_offset_min"].tolist()
    for row, told in zones.items():
        zone = block.texts[row].split(b"\x1f", 1)[0].decode()
        if told > (times[row], offsets[row], zone):
            times[row], offsets[row] = told[:2]
            if told[2] != zone:
                words.of(row)[0] = told[2]
    head["zone_at"], head["zone_offset_min"] = times, offsets
    return words.profile(), words.texts()


class _Words:
    """The words of those rows that anything is said about."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._words: dict[int, list[str]] = {}  # by row: the zone, then every attribute
        self._times: dict[tuple[int, int], int] = {}  # by row and attribute

    def of(self, row: int) -> list[str]:
        """The zone and the attributes of a row, to be changed."""
        if row not in self._words:
            zone, *told = self._block.texts[row].decode().split("\x1f")
            known = [""] * N_WORDS
            rows, attributes, times = self._block.profile
            mine = slice(*np.searchsorted(rows, [row, row + 1]).tolist())
            given = zip(attributes[mine].tolist(), times[mine].tolist(), told, strict=True)
            for attribute, at, text in given:
                known[attribute], self._times[row, attribute] = text, at
            self._words[row] = [zone, *known]
        return self._words[row]

    def hear(self, row: int, event: Event) -> None:
        """Keep what an event says in words, where nothing newer is known."""
        if event.type in CONSENTS:
            self._hear(row, CONSENT, event, consent_word(event.type, event.properties))
        for attribute, name in enumerate(ATTRIBUTES):
            text = event.properties.get(name)
            if isinstance(text, str):
                said = text.replace("\x1f", " ")[:MAX_ATTRIBUTE_CHARS]
                self._hear(row, attribute, event, said)

    def _hear(self, row: int, attribute: int, event: Event, text: str) -> None:
        """The same of one word; an empty one says nothing."""
        if text:
            words = self.of(row)
            known = self._times.get((row, attribute), NEVER_AT), words[1 + attribute]
            told = event.occurred_at, text
            self._times[row, attribute], words[1 + attribute] = max(known, told)

    def texts(self) -> list[bytes]:
        """Every row's words, packed."""
        texts = list(self._block.texts)
        for row, (zone, *told) in self._words.items():
            given = [text for i, text in enumerate(told) if (row, i) in self._times]
            texts[row] = "\x1f".join([zone, *given]).encode()
        return texts

    def profile(self) -> Profile:
        """Row, attribute and time of every word of a profile."""
        if not self._times:
            return self._block.profile
        rows, attributes, times = (part.tolist() for part in self._block.profile)
        known = dict(zip(zip(rows, attributes, strict=True), times, strict=True))
        both = sorted((known | self._times).items())
        return (
            np.array([row for (row, _), _ in both], np.int64),
            np.array([attribute for (_, attribute), _ in both], np.int64),
            np.array([at for _, at in both], np.int64),
        )


def _says_words(event: Event) -> bool:
    is_told = bool(event.properties) and not _TOLD.isdisjoint(event.properties)
    return is_told or event.type in CONSENTS
