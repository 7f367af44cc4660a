"""The audit log: who did what to whom, each line chained to the one before by its hash.

    audit/audit.ndjson    {"seq", "at", "actor", "action", "object", "prev_hash", "hash"} a line
    audit/head.json       number and hash of the last line: shows that an end was cut off

A line is durable when `add` returns, and only ever added. `hash` is the SHA-256 of the line's
other fields as JSON with sorted keys; a line has the bytes that were written, and no others that
say the same. A recipient stands in it as a keyed digest, never by key.

Failure mode: a chain proves order and wholeness against a head that is known. Whoever may write
both files can write another history; the head is therefore also in the program's log, and belongs
into a backup that others hold.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from features.errors import StoreUnavailableError
from features.events.durable import exclusive, fsync_directory, make_directory
from features.events.schema import SECOND_US

LOG: Final = logging.getLogger("opportune.audit")
LINES: Final = "audit.ndjson"
HEAD: Final = "head.json"
FIRST_HASH: Final = "0" * 64
_TAIL_BYTES: Final = 65_536  # a line has hundreds
_FIELDS: Final = ("seq", "at", "actor", "action", "object", "prev_hash", "hash")  # in this order


class Action(StrEnum):
    """What is written down. A closed set."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    FOLLOWED = "followed"
    SWITCHED_OFF = "switched_off"
    SWITCHED_ON = "switched_on"
    KEY_ADDED = "key_added"
    KEY_REVOKED = "key_revoked"
    ERASED = "erased"
    EXPORTED = "exported"
    RETAINED = "retained"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CONSENT_GRANTED = "consent_granted"
    RELABELLED = "relabelled"
    CONFIGURED = "configured"


class Entry(NamedTuple):
    """One thing done: what, and to what or whom."""

    action: Action
    object: str


class Head(NamedTuple):
    """The last line: its number, 0 in an empty log, and its hash."""

    seq: int = 0
    hash: str = FIRST_HASH


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the log is whole: how many lines are sound, and what is wrong with the next one.

    Args:
        line: The first bad line, counted from 1; 0 where there is none.
    """

    n_sound: int
    line: int = 0
    problem: str = ""


class AuditLog:
    """The log below one directory, for any number of processes.

    Raises:
        StoreUnavailableError: It cannot be read or written now.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines, self._head = folder / LINES, folder / HEAD

    def add(self, entries: Sequence[Entry], *, actor: str, at: int) -> Head:
        """Write down what `actor` did at a moment (microseconds); durable on return."""
        if not entries:
            return self.head()
        moment = datetime.fromtimestamp(at / SECOND_US, UTC).isoformat()
        try:
            make_directory(self._folder)
            with exclusive(self._folder / ".lock"):
                head = self._next()
                if not self._head.exists() and not head.seq:
                    self._keep(head)  # from now on lines without a head are a fault
                lines = []
                for entry in entries:
                    line: dict[str, Any] = {
                        "seq": head.seq + 1,
                        "at": moment,
                        "actor": actor,
                        "action": entry.action.value,
                        "object": entry.object,
                        "prev_hash": head.hash,
                    }
                    head = Head(head.seq + 1, hash_of(line))
                    lines.append(orjson.dumps(line | {"hash": head.hash}) + b"\n")
                self._append(b"".join(lines))
                self._keep(head)
        except OSError as error:
            remedy = "check that the disk has room and the directory is writable"
            raise StoreUnavailableError(str(self._lines), str(error), remedy) from error
        LOG.info("audit head: %d %s", head.seq, head.hash)
        return head

    def add_if_new(self, entry: Entry, *, actor: str, at: int) -> None:
        """The same, unless the newest line of this action says the same already."""
        told = [line["object"] for line in self.lines() if line["action"] == entry.action.value]
        if not told or told[-1] != entry.object:
            self.add([entry], actor=actor, at=at)

    def head(self) -> Head:
        """What the second file says of the last line."""
        try:
            told = orjson.loads(self._head.read_bytes())
            return Head(int(told["seq"]), str(told["hash"]))
        except FileNotFoundError:
            return Head()
        except (OSError, ValueError, KeyError, TypeError) as error:
            remedy = "put it back from a backup; `opportune audit verify` tells what is sound"
            raise StoreUnavailableError(str(self._head), f"damaged: {error}", remedy) from error

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every line that can be read, oldest first."""
        for raw in self._whole_lines():
            try:
                told = orjson.loads(raw)
            except ValueError:
                continue
            if isinstance(told, dict) and told.keys() >= set(_FIELDS):
                yield told

    def verify(self) -> Verdict:
        """Look at every line: number, chain, hash; and whether the end is the one known.

        Half a line at the end, of a writer that was killed, was never confirmed and is no fault.
        """
        with exclusive(self._folder / ".lock") if self._folder.exists() else nullcontext():
            raws, known = self._whole_lines(), self._known_head()
        if known is None:
            return Verdict(0, 1, f"{HEAD} is damaged or gone: the end cannot be told")
        before = Head()
        for number, raw in enumerate(raws, 1):
            found, problem = _checked(raw, before)
            if not problem and found.seq == known.seq and found != known:
                problem = f"its hash is not the one that {HEAD} knows"
            if problem:
                return Verdict(number - 1, number, problem)
            before = found
        if before.seq < known.seq:
            problem = f"the end is cut off: {HEAD} knows of {known.seq} lines"
            return Verdict(before.seq, before.seq + 1, problem)
        return Verdict(before.seq)

    def _known_head(self) -> Head | None:
        """None where lines are there without a head that can be read."""
        try:
            head = self.head()
        except StoreUnavailableError:
            return None
        return None if not self._head.exists() and self._whole_lines() else head

    def _next(self) -> Head:
        """What the next line follows on: the last one, or the head where the end is missing.

        Behind a missing end the numbers show the gap for ever.
        """
        raw, known = self._last_line(), self.head()
        try:
            told = orjson.loads(raw)
            last = Head(int(told["seq"]), str(told["hash"]))
        except (ValueError, KeyError, TypeError):
            return known
        return last if last.seq > known.seq else known

    def _append(self, lines: bytes) -> None:
        is_new = not self._lines.exists()
        descriptor = os.open(self._lines, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = 0
            while written < len(lines):
                written += os.write(descriptor, lines[written:])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            fsync_directory(self._folder)

    def _keep(self, head: Head) -> None:
        scratch = self._head.with_suffix(".tmp")
        with scratch.open("wb") as file:
            file.write(orjson.dumps(head._asdict()))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._head)
        fsync_directory(self._folder)

    def _last_line(self) -> bytes:
        """The last whole line, empty where there is none; half a line behind it is cut off."""
        try:
            with self._lines.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - _TAIL_BYTES, 0))
                whole, end, torn = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return b""
        if torn:
            LOG.warning("%s: half a line of a writer that was killed is cut off", self._lines)
            os.truncate(self._lines, size - len(torn))
        return whole.rpartition(b"\n")[2] if end else b""

    def _whole_lines(self) -> list[bytes]:
        """The lines up to the last line end."""
        try:
            raw = self._lines.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            remedy = "check that the file is readable"
            raise StoreUnavailableError(str(self._lines), str(error), remedy) from error
        whole, end, _ = raw.rpartition(b"\n")
        return whole.split(b"\n") if end else []


def hash_of(line: dict[str, Any]) -> str:
    """SHA-256 in hex of a line's fields but its hash, as JSON with sorted keys."""
    told = {name: value for name, value in line.items() if name != "hash"}
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _checked(raw: bytes, before: Head) -> tuple[Head, str]:
    """What a line is the head of, and what is wrong with it."""
    try:
        line = orjson.loads(raw)
        found = Head(int(line["seq"]), str(line["hash"]))
        is_same = line.keys() == set(_FIELDS) and found.hash == hash_of(line)
        is_as_written = raw == orjson.dumps({name: line[name] for name in _FIELDS})
    except (ValueError, KeyError, TypeError, AttributeError):
        return before, "it is no line of an audit log"
    if found.seq != before.seq + 1:
        return found, f"its number is {found.seq} instead of {before.seq + 1}"
    if line["prev_hash"] != before.hash:
        return found, "it does not follow on the line before"
    if not is_same:
        return found, "it was changed: its hash is another"
    return found, "" if is_as_written else "it was changed: it says the same in other bytes"
