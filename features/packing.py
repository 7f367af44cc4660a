"""A state as bytes and back: sparse, versioned, and never misread.

Little-endian, every section filled up to eight bytes, so that many states are read and written
at once as arrays (`block`): a header of 80 bytes, then slot numbers and sums, channel numbers
with last and first times, active hours, interests, profile times, texts. The header names the
format and the layout that the slots were numbered by; other definitions refuse it.

Failure mode: of a robot with more than 4,096 interests only the strongest are kept.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache
from heapq import nlargest
from typing import Any, Final

from features.decay import FLOOR, NEVER_AT
from features.errors import StateUnreadableError
from features.layout import Layout
from features.state import TOTAL_KEY, State

PACKED_VERSION: Final = 3
MAX_TASTES: Final = 4_096  # a person has hundreds; a robot must not make every update slow
# version, channels, profile entries, (free), layout digest | at | seen | newest | erased_at |
# bits of the doubtful and of the sure weeks | their newest weeks, slots, hours | zone_at | zone
# offset, bytes of text, tastes; `seen` and `newest` stay where they are: stores compare them
# without reading a state
HEADER: Final = struct.Struct("<BBBBIqqqqQQHHHHqhHI")
SEEN_AT: Final = 16  # the byte where `seen` begins; `newest` follows
REMEDY: Final = "run `opportune materialize` to rebuild the online store from the log"


def pack(state: State, layout: Layout) -> bytes:
    """The state as bytes; `unpack` under the same layout gives it back."""
    slots = {slot: v for slot, v in sorted(state.slots.items()) if abs(v) >= FLOOR}
    tastes = {key: v for key, v in sorted(kept_tastes(state.affinity)) if v >= FLOOR}
    channels = sorted(state.last)
    profile = sorted(state.profile.items())
    texts = "\x1f".join([state.zone, *(text for _, (_, text) in profile)]).encode()
    sizes = len(slots), len(channels), len(state.hours), len(tastes), len(profile), len(texts)
    (doubtful, newest_doubtful), (sure, newest_sure) = state.weeks
    head = HEADER.pack(
        PACKED_VERSION, len(channels), len(profile), 0, layout.digest,
        state.at, state.seen, state.newest, state.erased_at, doubtful, sure,
        newest_doubtful, newest_sure, len(slots), len(state.hours),
        state.zone_at, state.zone_offset_min, len(texts), len(tastes),
    )  # fmt: skip
    return head + _body_of(*sizes).pack(
        *slots, *slots.values(), *channels,
        *(state.last[channel] for channel in channels),
        *(state.first[channel] for channel in channels),
        *(hour * 4 + kind for hour, kind in sorted(state.hours.items())),
        *tastes, *tastes.values(),
        *(attribute for attribute, _ in profile), *(at for _, (at, _) in profile), texts,
    )  # fmt: skip


def unpack(blob: bytes, layout: Layout) -> State:
    """Read packed bytes.

    Raises:
        StateUnreadableError: They were written by another version, under other feature
            definitions, or are cut short.
    """
    check(blob, layout)
    (_, n_channels, n_profile, _, _, at, seen, newest, erased_at, doubtful, sure,
     newest_doubtful, newest_sure, n_slots, n_hours, zone_at, zone_offset_min, n_texts,
     n_tastes) = HEADER.unpack_from(blob)  # fmt: skip
    body = _body_of(n_slots, n_channels, n_hours, n_tastes, n_profile, n_texts)
    if len(blob) != HEADER.size + body.size:
        problem = f"{len(blob)} bytes instead of {HEADER.size + body.size}"
        raise StateUnreadableError(problem, REMEDY)
    found = body.unpack_from(blob, HEADER.size)
    slots, place = _paired(found, 0, n_slots)
    channels = found[place : place + n_channels]
    last = found[place + n_channels : place + 2 * n_channels]
    first = found[place + 2 * n_channels : place + 3 * n_channels]
    place += 3 * n_channels
    hours = {number >> 2: number & 3 for number in found[place : place + n_hours]}
    tastes, place = _paired(found, place + n_hours, n_tastes)
    told, _ = _paired(found, place, n_profile)
    if max(slots, default=-1) >= layout.n_slots or max(channels, default=-1) >= len(
        layout.channels
    ):
        raise StateUnreadableError("a slot or channel that there is not", REMEDY)
    zone, *words = texts_of(found[-1], n_profile)
    return State(
        at=at,
        seen=seen,
        newest=newest,
        erased_at=erased_at,
        slots=slots,
        last=dict(zip(channels, last, strict=True)),
        first=dict(zip(channels, first, strict=True)),
        hours=hours,
        weeks=((doubtful, newest_doubtful), (sure, newest_sure)),
        affinity=tastes,
        zone_at=zone_at,
        zone_offset_min=zone_offset_min,
        zone=zone,
        profile={
            attribute: (moment, text)
            for (attribute, moment), text in zip(told.items(), words, strict=True)
        },
        newest_hour=max(hours, default=NEVER_AT),
    )


def check(blob: bytes, layout: Layout) -> None:
    """Raise where bytes are not of this version and layout; cheap.

    Raises:
        StateUnreadableError: They are not.
    """
    if len(blob) < HEADER.size or len(blob) % 8:
        raise StateUnreadableError(f"{len(blob)} bytes are no state", REMEDY)
    version, _, _, _, digest = HEADER.unpack_from(blob)[:5]
    if version != PACKED_VERSION or digest != layout.digest:
        problem = f"version {version}, layout {digest:08x} instead of {layout.digest:08x}"
        raise StateUnreadableError(problem, REMEDY)


def texts_of(raw: bytes, n_profile: int) -> list[str]:
    """The zone, then the words of the profile.

    Raises:
        StateUnreadableError: It is not text, or another number of words.
    """
    try:
        texts = raw.decode().split("\x1f")
    except UnicodeDecodeError:
        texts = []
    if len(texts) != 1 + n_profile:
        raise StateUnreadableError("zone and profile are not text", REMEDY)
    return texts


def kept_tastes(affinity: dict[int, float]) -> Iterable[tuple[int, float]]:
    """All interests, or of a robot's many thousand the strongest and the sum over all."""
    if len(affinity) <= MAX_TASTES:
        return affinity.items()
    strongest = nlargest(MAX_TASTES, affinity.items(), key=lambda taste: taste[1])
    return {TOTAL_KEY: affinity.get(TOTAL_KEY, 0.0), **dict(strongest)}.items()


@lru_cache(maxsize=4_096)
def _body_of(
    n_slots: int, n_channels: int, n_hours: int, n_tastes: int, n_profile: int, n_texts: int
) -> struct.Struct:
    """What follows the header; `x` fills a section up to eight bytes."""
    return struct.Struct(
        f"<{n_slots}H{-2 * n_slots % 8}x{n_slots}d{n_channels}B{-n_channels % 8}x{n_channels}q"
        f"{n_channels}q{n_hours}i{-4 * n_hours % 8}x{n_tastes}I{-4 * n_tastes % 8}x{n_tastes}d"
        f"{n_profile}B{-n_profile % 8}x{n_profile}q{n_texts}s{-n_texts % 8}x"
    )


def _paired(found: tuple[Any, ...], place: int, count: int) -> tuple[dict[int, Any], int]:
    middle, end = place + count, place + 2 * count
    return dict(zip(found[place:middle], found[middle:end], strict=True)), end
