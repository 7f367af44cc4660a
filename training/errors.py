"""What can go wrong with a training; each error says what to do."""

_MORE_EVENTS = "ingest more events, the service answers with its fallback until then"


class TrainingError(Exception):
    """Base of the errors that training raises."""


class LabelsImmatureError(TrainingError):
    """The log is too short for the label window; `found` says by how much."""

    def __init__(self, model: str, *, have_days: float, need_days: float) -> None:
        self.found = (
            f"the log spans {have_days:.0f} days before `as_of`, labels need {need_days:.0f}"
        )
        remedy = "ingest an older export or choose a shorter horizon"
        super().__init__(f"{model}: {self.found}; {remedy}")


class TooFewRowsError(TrainingError):
    """Too few labelled rows, or all of one class; `found` says how many."""

    def __init__(
        self, model: str, *, rows: int, need: int, what: str, remedy: str = _MORE_EVENTS
    ) -> None:
        self.found = f"{rows} {what}, at least {need} are needed"
        super().__init__(f"{model}: {self.found}; {remedy}")


class EstimatorRefusedError(TrainingError):
    """An estimator whose exported graph is known to be wrong."""

    def __init__(self, setting: str) -> None:
        super().__init__(
            f"LightGBM with {setting} converts to a wrong ONNX graph without a word; "
            "use plain gbdt with numeric features"
        )
