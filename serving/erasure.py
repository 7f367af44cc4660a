"""Everything about a recipient removed, from every store, with a receipt of what was where.

Suppression comes first and is durable: from then on nothing of theirs is stored anew. Then every
store is gone through, all is looked at once more, and a proof is written that names nobody. Each
step finds done what is done, so a run that was killed is ended by the same call.

What is not reached: files outside the data directory (exports, plans of audiences, backups), and
memory of other processes, which holds decisions by an opaque id until they end. What models have
learnt stays in them until the next training: their watermark says so (`serving.proofs`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from features.audit import Action, AuditLog, Entry
from features.definitions.recipient import VIEW as RECIPIENT
from features.events.digests import TOMBSTONE, Digests
from features.events.durable import exclusive, make_directory
from features.events.forget import Forgotten, forget, number_of, settle, suppress
from features.events.lines import spelt_out, without_lines, word_of
from features.events.log import EventLog
from features.events.quarantine import Quarantine
from features.events.schema import MAX_KEY_CHARS
from features.online import open_store
from features.witness import recipient
from serving.errors import NotARecipientError
from serving.kept import ENTITY, Keeper
from serving.proofs import Proof, write_proof
from serving.settings import DataSettings

MOST_AT_ONCE: Final = 5_000
IdOf = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was removed.

    Args:
        id: Of the erasure; its proof has this name.
        erased_at: Microseconds; what happened up to then stays out for ever.
        stores: How much was removed from each.
        is_verified: Every store was looked at again, and nothing was found.
        n_unknown: Of whom there was neither an event nor a state: erased before, or misspelt.
    """

    id: str
    erased_at: int
    n_recipients: int
    stores: dict[str, int] = field(default_factory=dict)
    is_verified: bool = False
    n_unknown: int = 0


def erase(
    settings: DataSettings,
    recipient_keys: Iterable[str],
    *,
    now: int,
    actor: str,
    id_of: IdOf,
    keeper: Keeper | None = None,
) -> Receipt:
    """Remove recipients from every store; done again it changes nothing but the moment.

    Args:
        now: Microseconds; the erasure's moment.
        actor: Who asks for it, for the audit log.
        id_of: The id of a decision, of a recipient and a send.
        keeper: Of this process, so that its memory forgets too.

    Raises:
        NotARecipientError: A key is none.
        StoreUnavailableError: A store refuses; the recipients are suppressed if the log could be
            written, and the same call goes on from there.
    """
    keys = checked(recipient_keys)
    make_directory(settings.erasures_dir)
    with exclusive(settings.erasures_dir / ".lock"):
        first_at = suppress(settings.events_dir, keys, until=now)
        gone = forget(settings.events_dir, keys)
        stores = {"event_log": gone.n_rows, "parquet_files": gone.n_parts}
        states = _from_store(settings.online_address, RECIPIENT.entity, keys)
        stores["online_states"] = len(states)
        stores["quarantine"] = Quarantine(settings.events_dir).erase(keys)
        stores["rejects"] = _from_rejects(settings.rejects_dir, keys)
        stores |= _decided(settings, keys, gone, id_of, keeper)
        stores["feast_files"] = remove_sources(settings.feast_dir)
        is_verified = _is_gone(settings, keys)
        digests = Digests(settings.events_dir)
        objects = [Entry(Action.ERASED, recipient(digests, key)) for key in keys]
        head = AuditLog(settings.audit_dir).add(objects, actor=actor, at=now)
        named = [digests.of(TOMBSTONE, key) for key in keys]
        proof = Proof(
            erased_at=now,
            first_at=first_at,
            tombstones=named,
            number=number_of(settings.events_dir, named),
            stores=stores,
            is_verified=is_verified,
            audit_seq=head.seq,
            audit_hash=head.hash,
        )
        proof_id = write_proof(settings.erasures_dir, proof)
        settle(settings.events_dir, keys)
    n_unknown = len(set(keys) - gone.sends.keys() - set(states))
    return Receipt(proof_id, now, len(keys), stores, is_verified, n_unknown)


def checked(recipient_keys: Iterable[str]) -> list[str]:
    """The keys, each once.

    Raises:
        NotARecipientError: One is empty, too long or an address, or there are too many or none.
    """
    given = list(recipient_keys)
    keys = list(dict.fromkeys(given))
    if not keys or len(keys) > MOST_AT_ONCE:
        raise NotARecipientError(f"{len(keys)} keys: give one to {MOST_AT_ONCE:,} at a time")
    for number, key in enumerate(given, 1):
        problem = _problem_of(key)
        if problem:
            raise NotARecipientError(f"key {number} of {len(given)} {problem}")
    return keys


def _problem_of(key: str) -> str:
    """Why a key is none and what to do, without repeating it; empty for a sound one."""
    if not key.strip():
        return "is blank; give the key as it stands in the log"
    if len(key) > MAX_KEY_CHARS:
        return f"has {len(key)} characters; a key has at most {MAX_KEY_CHARS}: give each by itself"
    if not _is_text(key):
        return "holds a NUL or half a character; give it in UTF-8"
    if "@" in key:
        return "is an address; give the key made of it"
    return ""


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return "\0" not in key


def remove_sources(feast_dir: Path) -> int:
    """Remove the files behind Feast's views: the commands that made them make them anew."""
    files = [*feast_dir.rglob("*.parquet"), *feast_dir.rglob("*.tmp")]
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def _from_store(address: str, entity: str, keys: Sequence[str]) -> list[str]:
    """Rows out of a packed store, by key; a file that is not there is not made."""
    if "://" not in address and not Path(address).exists():
        return []
    with open_store(address) as store:
        gone = [key for key in keys if store.erase(entity, key)]
        if keys:  # also where they are gone: a killed call may have been here
            store.scrub()
    return gone


def _from_rejects(folder: Path, keys: Sequence[str]) -> int:
    names = word_of(keys)
    files = sorted(folder.glob("*.ndjson"))
    return sum(
        len(without_lines(file, lambda line: bool(names.search(spelt_out(line))))) for file in files
    )


def _decided(
    settings: DataSettings,
    keys: Sequence[str],
    gone: Forgotten,
    id_of: IdOf,
    keeper: Keeper | None,
) -> dict[str, int]:
    """Decisions out of their log, and out of what is kept: by the ids that the log still tells."""
    wanted, names = frozenset(keys), word_of(keys)
    files = sorted(settings.decisions_dir.glob("*.ndjson"))
    ids = {id_of(key, send) for key, sends in gone.sends.items() for send in sends}
    for file in files:
        with file.open("rb") as lines:
            ids |= {named for line in lines if (named := _decision_of(line, wanted))}
    if keeper is not None:
        keeper.forget(ids)
    n_kept = len(_from_store(settings.kept_address, ENTITY, sorted(ids)))

    def is_theirs(line: str) -> bool:
        raw = line.encode(errors="surrogateescape")
        return bool(_decision_of(raw, wanted)) or (not _is_json(raw) and bool(names.search(line)))

    n_lines = sum(len(without_lines(file, is_theirs)) for file in files)
    return {"decisions": n_lines, "kept_decisions": n_kept}


def _decision_of(line: bytes, wanted: frozenset[str]) -> str:
    """The id of a decision about one of the recipients; empty for any other line."""
    try:
        told = orjson.loads(line)
    except ValueError:
        return ""
    if not isinstance(told, dict) or told.get("recipient_key") not in wanted:
        return ""
    return str(told.get("decision_id") or "unnamed")


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True


def _is_gone(settings: DataSettings, keys: Sequence[str]) -> bool:
    """Whether no store has anything of the recipients, seen as a reader sees it."""
    with EventLog(settings.events_dir) as log:
        if any(log.of_recipient(key, limit=1) for key in keys):
            return False
    if "://" in settings.online_address or Path(settings.online_address).exists():
        with open_store(settings.online_address) as store:
            if any(store.get(RECIPIENT.entity, keys)):
                return False
    wanted = frozenset(keys)
    for file in sorted(settings.decisions_dir.glob("*.ndjson")):
        with file.open("rb") as lines:
            if any(_decision_of(line, wanted) for line in lines):
                return False
    return True
