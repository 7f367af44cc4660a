"""What can go wrong with events and features; each error names the value and the remedy."""

from enum import StrEnum


class RejectReason(StrEnum):
    """Why an event was not accepted. A closed set: it labels metrics and rejects files."""

    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_TYPE = "unknown_type"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    NOT_FINITE = "not_finite"
    BAD_VALUE = "bad_value"
    TOO_LONG = "too_long"
    BAD_ENCODING = "bad_encoding"
    ADDRESS_AS_KEY = "address_as_key"
    UNREADABLE_ROW = "unreadable_row"
    ERASED_RECIPIENT = "erased_recipient"


class FeatureError(Exception):
    """Base of the errors that events and features raise."""


class EventRejectedError(FeatureError):
    """One event breaks the schema; its neighbours are not concerned."""

    def __init__(self, reason: RejectReason, field: str, value: object, remedy: str) -> None:
        self.reason = reason
        self.field = field
        self.remedy = remedy
        self.value = shown(value)
        super().__init__(f"{field} = {self.value}: {reason.value}; {remedy}")


class MappingInvalidError(FeatureError):
    """A mapping file does not describe how rows become events."""

    def __init__(self, file: str, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {problem}; {remedy}")


class FileUnusableError(FeatureError):
    """A file of events cannot be read, or not to its end."""

    def __init__(self, file: str, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {problem}; {remedy}")


class StoreUnavailableError(FeatureError):
    """A store of events or features cannot be read or written now."""

    def __init__(self, store: str, problem: str, remedy: str) -> None:
        self.store = store
        super().__init__(f"{store}: {problem}; {remedy}")


class StateUnreadableError(FeatureError):
    """A packed state was written under other feature definitions or is damaged."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"packed state: {problem}; {remedy}")


def shown(value: object, *, limit: int = 60) -> str:
    """A value as it may stand in a message: quoted, one line, at most `limit` characters.

    >>> shown("a" * 100, limit=5)
    "'aaaaa' ... (100 characters)"
    """
    if isinstance(value, str) and len(value) > limit:
        return f"{value[:limit]!r} ... ({len(value)} characters)"
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text)} characters)"
