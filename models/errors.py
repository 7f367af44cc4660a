"""What can go wrong with bundles and registries; each error says what to do."""

from pathlib import Path


class ModelError(Exception):
    """Base of the errors that models raise."""


class BundleCorruptError(ModelError):
    """A file of a bundle is missing or differs from what its manifest says."""

    def __init__(self, file: Path, problem: str) -> None:
        self.file = file
        super().__init__(
            f"{file.name}: {problem}; fetch the bundle again or roll back to the version before"
        )


class BundleMismatchError(ModelError):
    """A sound bundle that does not answer what its spec asks."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"bundle of {name}: {problem}; retrain {name} with this version of opportune"
        )


class ParityError(ModelError):
    """The exported graph and the fitted model give different numbers."""

    def __init__(self, name: str, worst: float, limit: float) -> None:
        self.worst = worst
        super().__init__(
            f"{name}: exported graph differs from the fitted model by {worst:.2e}, more than "
            f"{limit:.0e}; look for features that are not float32 or unsupported boosting modes"
        )


class RehearsalError(ModelError):
    """A model that was loaded does not answer as it should."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}; retrain {name} or roll back to the version before")


class VersionUnknownError(ModelError):
    """The registry has no such model or version."""

    def __init__(self, name: str, version: str, known: list[str]) -> None:
        have = ", ".join(known) if known else "none; run `opportune retrain` first"
        super().__init__(f"{name} has no version {version}; registered: {have}")


class RegistryUnavailableError(ModelError):
    """MLflow cannot be reached or refuses."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}; check that the tracking database or server is there")


class TrialError(ModelError):
    """A bundle did not pass its trial in a process of its own."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"bundle of {name}: {problem} in the process in which it was tried; retrain {name} or "
            "roll back to the version before"
        )
