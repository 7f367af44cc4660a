"""What a service notes in the audit log: another configuration, and an alias that it follows."""

import hashlib
import logging
from collections.abc import Callable
from typing import Any, Final

from features.audit import Action, AuditLog, Entry
from features.errors import StoreUnavailableError
from serving.clock import Clock
from serving.settings import ServingSettings

LOG: Final = logging.getLogger("opportune.audited")
_PASSING: Final = frozenset({"port", "data_dir"})  # where it runs, not what it does


def note_configuration(settings: ServingSettings, *, at: int) -> None:
    """Note what differs from the defaults; texts as digests, since some are secrets or addresses.

    A log that cannot be written now is told of and holds no service up.
    """
    told = {
        name: _shown(getattr(settings, name))
        for name, field in type(settings).model_fields.items()
        if name not in _PASSING and getattr(settings, name) != field.get_default(
            call_default_factory=True
        )
    }  # fmt: skip
    shown = " ".join(f"{name}={value}" for name, value in sorted(told.items()))
    try:
        entry = Entry(Action.CONFIGURED, shown or "the defaults")
        AuditLog(settings.audit_dir).add_if_new(entry, actor="service", at=at)
    except StoreUnavailableError as error:
        LOG.warning("%s; the configuration is not in the audit log", error)


def followed(settings: ServingSettings, clock: Clock) -> Callable[[str], None]:
    """Notes what an alias in MLflow changed here; who set it there MLflow does not say.

    A log that cannot be written now is told of and holds no champion up.
    """

    def note(told: str) -> None:
        try:
            AuditLog(settings.audit_dir).add(
                [Entry(Action.FOLLOWED, told)], actor="mlflow", at=clock()
            )
        except StoreUnavailableError as error:
            LOG.warning("%s; not in the audit log: %s", error, told)

    return note


def _shown(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    reveal = getattr(value, "get_secret_value", None)
    if reveal is not None:
        return "(a secret)"
    return hashlib.sha256(str(value).encode()).hexdigest()[:12]
