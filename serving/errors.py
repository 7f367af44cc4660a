"""What can go wrong in the service's parts; each error says what to do, and names no secret."""

from pathlib import Path


class ServingError(Exception):
    """Base of the errors that the service's own parts raise."""


class KeysUnreadableError(ServingError):
    """The file of API keys cannot be read or is not one."""

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(
            f"{file}: {problem}; put back a copy of it, or remove it and make new keys with "
            "`opportune keys add`"
        )


class KeyUnknownError(ServingError):
    """No key has this id. The id is not repeated: it may be a whole key, pasted by mistake."""

    def __init__(self, known: list[str]) -> None:
        have = ", ".join(known) if known else "none; make one with `opportune keys add`"
        super().__init__(f"no key has this id (the eight characters after opp_); there are: {have}")


class TooManyKeysError(ServingError):
    """A name has the two live keys that a rotation needs."""

    def __init__(self, name: str, live: list[str]) -> None:
        super().__init__(
            f"{name} has the live keys {' and '.join(live)}; revoke the one that is no longer "
            "used with `opportune keys revoke ID`"
        )


class NotARecipientError(ServingError):
    """What is given for a recipient key is none; it is not repeated."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


class TracingMissingError(ServingError):
    """Traces are asked for, and what makes them is not installed."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"OPPORTUNE_TRACES=true needs {missing}, which is not installed; "
            "pip install 'opportune[tracing]', or set OPPORTUNE_TRACES=false"
        )


class EventsNotStoredError(ServingError):
    """The service did not take a call of events; none of them is lost to the caller."""

    def __init__(self, problem: str, *, n_events: int) -> None:
        self.problem = problem
        super().__init__(
            f"{n_events} events were not stored: {problem}; send the same events again, those that "
            "are stored already count as duplicates"
        )
