"""What the environment tells the command line; nothing else reads environment variables."""

from pathlib import Path

from pydantic import Field

from serving.settings import DataSettings


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

    @property
    def rejects_dir(self) -> Path:
        """Where imports put the rows that were not accepted, unless told otherwise."""
        return self.data_dir / "rejects"

    @property
    def feast_dir(self) -> Path:
        """Where Feast's registry and the Parquet files behind its views lie."""
        return self.data_dir / "feast"

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
