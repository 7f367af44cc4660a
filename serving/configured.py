"""The configuration of a service, noted in the audit log when it is another than before."""

import hashlib
import logging
from typing import Any, Final

from features.audit import Action, AuditLog, Entry
from features.errors import StoreUnavailableError
from serving.settings import ServingSettings

LOG: Final = logging.getLogger("opportune.configured")
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


def _shown(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    reveal = getattr(value, "get_secret_value", None)
    if reveal is not None:
        return "(a secret)"
    return hashlib.sha256(str(value).encode()).hexdigest()[:12]
