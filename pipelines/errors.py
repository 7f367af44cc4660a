"""What can go wrong with the plan for an audience; each error says what to do."""

from pathlib import Path


class PlanError(Exception):
    """Base of the errors of scoring a whole audience."""


class PlanUnfinishedError(PlanError):
    """A run ended before its last chunk; what is done is kept."""

    def __init__(self, out: Path, problem: str) -> None:
        super().__init__(f"{out}: {problem}; run the same command again, it goes on where it was")


class PlanBusyError(PlanError):
    """Another process works at the same plan."""

    def __init__(self, out: Path) -> None:
        super().__init__(
            f"{out}: another process is making this plan; wait for it, or choose another --out"
        )
