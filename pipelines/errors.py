"""What can go wrong with commands and their plans; each error says what to do."""

from pathlib import Path


class PlanError(Exception):
    """Base of the errors of scoring a whole audience."""


class RunError(Exception):
    """Base of the errors of commands themselves."""


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


class NoChampionError(PlanError):
    """No model serves, so that a plan would be one of priors: worse than none."""

    def __init__(self, models_dir: Path) -> None:
        super().__init__(
            f"{models_dir} has no champion that can be loaded, and a plan of priors would be worse "
            "than none; `opportune promote` a version, or name its data by OPPORTUNE_DATA_DIR"
        )


class ThrottleUnkeptError(PlanError):
    """Tasks that know nothing of each other were asked to share the hours."""

    def __init__(self) -> None:
        super().__init__(
            "a throttle is over all recipients at once and cannot be kept task by task; use "
            "`opportune score`, or name the hours that are full in rules.full_hours"
        )


class ImportUnfinishedError(RunError):
    """An import ended before the end of its file; what was stored by then is durable."""

    def __init__(self, file: Path, problem: str, *, n_stored: int) -> None:
        super().__init__(
            f"{file}: {problem}; {n_stored:,} of its events are in the log for good, import it "
            "again for the rest: none is stored twice"
        )


class DayAheadError(RunError):
    """A midnight that is yet to come was to be filled: its file would stay unfinished."""

    def __init__(self, day: str, *, newest: str) -> None:
        super().__init__(f"the midnight of {day} is yet to come; the newest possible is {newest}")


class RunUnknownError(RunError):
    """No run on record has such an id, or several have."""

    def __init__(self, run_id: str, found: list[str]) -> None:
        problem = f"it may be {', '.join(found[:5])}" if found else "there is no such run"
        super().__init__(f"{run_id}: {problem}; `opportune runs` lists those there are")
