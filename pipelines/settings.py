"""What the environment tells the command line; nothing else reads environment variables."""

from pathlib import Path
from typing import Final

from pydantic import Field

from serving.settings import DataSettings

LONGEST_DAYS: Final = 36_525  # a hundred years: more is a mistake of unit


class Settings(DataSettings):
    """Settings of the pipelines, each from a variable `OPPORTUNE_<NAME>`."""

    tracking_uri: str = Field(
        "", description="MLflow's database or server; SQLite in the data directory when empty."
    )
    seed: int = Field(7, description="Decides every draw of a training.")
    retrain_days: float = Field(
        28.0, description="Days after which a champion is due to be trained again.", gt=0
    )
    retrain_growth: float = Field(
        0.5,
        description="The same of new events, as a share of those a champion was trained on.",
        gt=0,
    )
    auto_promote: bool = Field(
        default=False,
        description="Whether a scheduled training promotes what the gates pass; else it waits as "
        "`candidate` for a person.",
    )
    retain_events_days: float = Field(
        0.0, description="Days for which events are kept; 0 for ever.", ge=0, le=LONGEST_DAYS
    )
    retain_decisions_days: float = Field(
        0.0, description="Days for which decisions are kept; 0 for ever.", ge=0, le=LONGEST_DAYS
    )
    retain_rejects_days: float = Field(
        0.0,
        description="Days for which rejected rows and the quarantine are kept; 0 for ever.",
        ge=0,
        le=LONGEST_DAYS,
    )

    @property
    def retained_days(self) -> dict[str, float]:
        """By class of data the days that `opportune retain` leaves; zero for ever."""
        return {
            "events": self.retain_events_days,
            "decisions": self.retain_decisions_days,
            "rejects": self.retain_rejects_days,
        }

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking URI, the embedded database unless told otherwise."""
        return self.tracking_uri or f"sqlite:///{(self.data_dir / 'mlflow.db').absolute()}"

    @property
    def artifacts_dir(self) -> Path:
        """Where the embedded MLflow keeps what runs log."""
        return (self.data_dir / "mlflow-artifacts").absolute()


class DemoSettings(DataSettings):
    """What only the demo asks for."""

    demo_exit: bool = Field(
        default=False,
        validation_alias="DEMO_EXIT",
        description="End when the story is told instead of waiting.",
    )
