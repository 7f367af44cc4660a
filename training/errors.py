"""What can go wrong with a training; each error says what to do."""


class TrainingError(Exception):
    """Base of the errors that training raises."""


class LabelsImmatureError(TrainingError):
    """The log is too short for the label window."""

    def __init__(self, model: str, *, have_days: float, need_days: float) -> None:
        super().__init__(
            f"{model}: the log spans {have_days:.0f} days before `as_of`, labels need "
            f"{need_days:.0f}; ingest an older export or choose a shorter horizon"
        )


class TooFewRowsError(TrainingError):
    """Too few labelled rows, or all of one class, to fit and measure a model."""

    def __init__(self, model: str, *, rows: int, need: int, what: str) -> None:
        super().__init__(
            f"{model}: {rows} {what}, at least {need} are needed; ingest more events, "
            "the service answers with its fallback until then"
        )


class EstimatorRefusedError(TrainingError):
    """An estimator whose exported graph is known to be wrong."""

    def __init__(self, setting: str) -> None:
        super().__init__(
            f"LightGBM with {setting} converts to a wrong ONNX graph without a word; "
            "use plain gbdt with numeric features"
        )
