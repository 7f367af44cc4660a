"""The answer of a caller that got none: complete, and what the sender would do without us.

The sender's own hour, the candidates in the order given, nothing held back; the chances are the
priors that the service itself answers without models. It needs nothing but the question.

Failure mode: it knows no `rules`. Give a `default_at` at which the mail may go out.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from serving.client.answer import Answer

POLICY: Final = "client@1"
P_ENGAGE: Final = 0.1
P_CHURN: Final = 0.5
P_UNSUBSCRIBE: Final = 0.002
P_COMPLAINT: Final = 0.0002
P_CLICK: Final = 0.02
HORIZON_DAYS: Final = 90.0
_NO_ZONES: Final = ("localtime", "posixrules", "Factory", "posix/", "right/")  # to the service too
_NONE: Final = {"send_time": "none", "churn": "none", "content_preference": "none"}


class ClientReason(StrEnum):
    """Why a caller has no answer of the service; a closed set, beside the service's own reasons."""

    TIMEOUT = "client_timeout"  # none in time
    UNREACHABLE = "client_unreachable"  # no connection, or one that broke
    REFUSED = "client_refused"  # anything but 200: see the log
    UNREADABLE = "client_unreadable"  # a 200 that is no complete answer to this question


def local_answer(
    recipient_key: str, asked: Mapping[str, Any], *, why: ClientReason, now: int
) -> Answer:
    """A complete answer to any question, however odd it is.

    Args:
        asked: The fields of the question; what cannot be read is left out.
        now: Microseconds since 1970.
    """
    zone, name = _zone(asked.get("timezone"))
    send_id, items = str(asked.get("send_id") or ""), _items(asked.get("candidates"))
    hour = _hour(asked, datetime.fromtimestamp(now // 1_000_000, UTC))
    moment, epoch = hour.astimezone(zone).isoformat(), int(hour.timestamp())
    named = json.dumps([POLICY, send_id, str(asked.get("slot") or ""), str(recipient_key)])
    chances = {"p_engage": P_ENGAGE, "p_low": 0.0, "p_high": 1.0}
    return Answer.model_validate(
        {
            "status": "ok",
            "decision_id": hashlib.blake2b(named.encode(), digest_size=16).hexdigest(),
            "recipient_key": str(recipient_key),
            "send_id": send_id,
            "as_of": datetime.fromtimestamp(now // 1_000_000, UTC).isoformat(),
            "arm": "personal",
            "send_time": {
                "best_at": moment,
                "best_at_epoch": epoch,
                "default_at": moment,
                "default_at_epoch": epoch,
                **chances,
                **{f"{chance}_default": value for chance, value in chances.items()},
                "basis": "prior",
                "tz": name,
                "tz_source": "unknown" if zone is UTC else "request",
                "binding_constraint": "little_evidence",
                "explanation": "no model tells the hours apart",
                "explored": False,
                "propensity": 1.0,
                "slots": [{"at": moment, "at_epoch": epoch, "p": P_ENGAGE}],
            },
            "hold": {
                "hold_back": False,
                "reason": "none",
                "until": "",
                "until_epoch": 0,
                "value": P_ENGAGE,
                "propensity": 1.0,
                "explored": False,
            },
            "churn": {
                "p_churn": P_CHURN,
                "band": "medium",
                "horizon_days": HORIZON_DAYS,
                "risks": {"unsubscribe": P_UNSUBSCRIBE, "complaint": P_COMPLAINT},
                "effects": [],
            },
            "content": {
                "variant": items[0] if items else "",
                "ranking": [{"content_id": item, "p_click": P_CLICK} for item in items],
                "propensity": 1.0,
                "explored": False,
            },
            "reason_codes": [],
            "evidence_n": 0,
            "feature_age_s": -1,
            "fallback": {"used": True, "reason": why, "parts": dict.fromkeys(_NONE, why)},
            "models": _NONE,
            "policy": POLICY,
        }
    )


def _hour(asked: Mapping[str, Any], now: datetime) -> datetime:
    """The sender's own hour or now, within the window where there is one."""
    hour = _moment(asked.get("default_at")) or now
    start, end = _moment(asked.get("window_from")), _moment(asked.get("window_to"))
    hour = hour if start is None else max(hour, start)
    hour = hour if end is None else min(hour, end)
    return max(hour, now).replace(microsecond=0)


def _moment(given: Any) -> datetime | None:
    """A time as the service takes it, without a zone in UTC; None for what is no time."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
        if isinstance(moment, datetime) and 2000 <= moment.year <= 2099:
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return None


def _zone(name: Any) -> tuple[tzinfo, str]:
    if isinstance(name, str) and name and not name.startswith(_NO_ZONES):
        with suppress(Exception):  # zoneinfo raises many things for names that are none
            return ZoneInfo(name), name
    return UTC, "UTC"


def item_id(item: Any) -> str:
    """The id of an item that is one or has one; empty where it cannot be read.

    >>> item_id({"content_id": 7, "title": "Boots"})
    '7'
    """
    found = item.get("content_id") if isinstance(item, Mapping) else item
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    return found if isinstance(found, str) else ""


def _items(candidates: Any) -> list[str]:
    """The ids in the order given; of items that are given as ids or with one."""
    rows = candidates if isinstance(candidates, list | tuple) else ()
    return [found for row in rows if (found := item_id(row))]
