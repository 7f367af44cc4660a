"""Everything held about one recipient, as one JSON object: for them to read and to take along."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from features.definitions.profile import ATTRIBUTES, is_withdrawn
from features.definitions.recipient import VIEW
from features.errors import StateUnreadableError
from features.events.lines import spelt_out, word_of
from features.events.log import EventLog
from features.events.quarantine import Quarantine
from features.events.schema import SECOND_US, Event
from features.layout import layout_of
from features.packing import unpack
from features.state import State
from models.specs.churn import COMPLAINT, UNSUBSCRIBE
from serving.asks import Ask, Champions
from serving.decider import Decider, Scored
from serving.fallback import worst
from serving.hours import send_time
from serving.settings import DataSettings

if TYPE_CHECKING:
    from features.online import OnlineStore

SCHEMA_VERSION: Final = 1
_TIMES: Final = ("occurred_at", "received_at")


def export(
    settings: DataSettings, recipient_key: str, *, decider: Decider, log: EventLog,
    store: "OnlineStore", now: int,
) -> dict[str, Any]:  # fmt: skip
    """Events, profile, features, scores with reasons, decisions, and the models that made them.

    Scores are those of this moment (microseconds), made for this answer; nothing is kept of it.

    Raises:
        StoreUnavailableError: The log or the store cannot be read now.
    """
    ask = Ask(recipient_key, explain=True, explore=False, is_test=True)
    (scored,) = decider.score([ask], now=now)
    events = log.history("recipient_key", recipient_key, until=log.head())
    (blob,) = store.get(VIEW.entity, [recipient_key])
    return {
        "schema_version": SCHEMA_VERSION,
        "recipient_key": recipient_key,
        "as_of": _shown(now),
        "events": [_event(event) | {"offset": offset} for offset, event in events],
        "profile": _profile(blob),
        "features": {k: v for k, v in scored.prediction.features.items() if v == v},  # noqa: PLR0124
        "scores": _scores(ask, scored, now),
        "decisions": decisions_of(settings.decisions_dir, recipient_key),
        "quarantine": _quarantined(settings, recipient_key),
        "models": _models(scored.champions),
    }


def decisions_of(folder: Path, recipient_key: str) -> list[dict[str, Any]]:
    """The logged decisions about one recipient, oldest first."""
    found = []
    name = orjson.dumps(recipient_key)
    for file in sorted(folder.glob("*.ndjson")):
        with file.open("rb") as lines:
            for line in lines:
                if name in line and line.endswith(b"\n"):
                    told = orjson.loads(line)
                    if told.get("recipient_key") == recipient_key:
                        found.append(told)
    return sorted(found, key=lambda one: one["at"])


def _event(event: Event) -> dict[str, Any]:
    told = event._asdict()
    told |= {name: _shown(told[name]) for name in _TIMES}
    told["value"] = None if event.value != event.value else event.value
    return told | {"properties": dict(event.properties)}


def _profile(blob: bytes | None) -> dict[str, Any]:
    state = State()
    if blob is not None:
        try:
            state = unpack(blob, layout_of(VIEW))
        except StateUnreadableError:
            return {"problem": "the stored state cannot be read"}
    words = {name: state.profile[n][1] for n, name in enumerate(ATTRIBUTES) if n in state.profile}
    has_consent = not is_withdrawn(state.profile)
    return words | {"timezone": state.zone, "may_be_profiled": has_consent}


def _scores(ask: Ask, scored: Scored, now: int) -> dict[str, Any]:
    prediction = scored.prediction
    hours = send_time(ask, prediction, now=now)
    return {
        "best_hour": _shown(hours.best.at),
        "p_engage": hours.best.p,
        "p_engage_by_hour_of_week": prediction.p_engage.tolist(),
        "p_churn": prediction.p_churn,
        "risks": {UNSUBSCRIBE: prediction.risks.unsubscribe, COMPLAINT: prediction.risks.complaint},
        "effects": [{"theme": one.theme, "effect": one.effect} for one in prediction.effects],
        "fallback": worst(*prediction.reasons.values()).value,
        "reasons": {name: why.value for name, why in prediction.reasons.items()},
    }


def _quarantined(settings: DataSettings, recipient_key: str) -> Sequence[str]:
    names = word_of([recipient_key])
    kept = Quarantine(settings.events_dir).read(limit=-1)
    return [one.item for one in kept if names.search(spelt_out(one.item))]


def _models(champions: Champions) -> dict[str, Any]:
    return {
        name: {
            "version": loaded.version,
            "as_of": loaded.bundle.manifest.as_of,
            "fingerprint": loaded.bundle.manifest.fingerprint,
        }
        for name, loaded in champions.by_name.items()
    }


def _shown(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND_US, UTC).isoformat()
