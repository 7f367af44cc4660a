"""What the environment tells the scoring service."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class DataSettings(BaseSettings):
    """Where the data lie, for the service and the commands alike."""

    model_config = SettingsConfigDict(
        env_prefix="OPPORTUNE_", env_ignore_empty=True, populate_by_name=True
    )

    data_dir: Path = Field(Path("var"), description="The directory that holds all data.")
    key_secret: SecretStr | None = Field(
        None, description="The secret that makes recipient keys of addresses (HMAC-SHA256)."
    )

    @property
    def events_dir(self) -> Path:
        """Where the event log lies."""
        return self.data_dir / "events"

    @property
    def online_file(self) -> Path:
        """The packed online store."""
        return self.data_dir / "online.sqlite"

    @property
    def models_dir(self) -> Path:
        """Champions as serving reads them."""
        return self.data_dir / "models"


class ServingSettings(DataSettings):
    """Settings of the service, each from a variable `OPPORTUNE_<NAME>`."""

    host: str = Field("127.0.0.1", description="The address the service listens on.")
    port: int = Field(8080, description="The port the service listens on.", ge=0, le=65_535)
    mlflow_url: str = Field(
        "",
        description="An MLflow server whose `champion` aliases are followed; without one the "
        "champions that `opportune promote` put on disk serve.",
    )
    poll_s: float = Field(2.0, description="Seconds between looks at the champions.", gt=0)
    max_body_bytes: int = Field(
        4 * 1024 * 1024, description="A larger request body is refused with 413.", gt=0
    )

    webhook_secrets: dict[str, list[SecretStr]] = Field(
        default_factory=dict,
        description="Per mail provider the secrets that prove its webhooks, as JSON; two while "
        "one is rotated.",
    )
    sns_topics: list[str] = Field(
        default_factory=list, description="SNS topics that are ours, as JSON; SES needs them."
    )
    segment_channel_trusted: bool = Field(
        default=False,
        description="Take events of a Segment batch that its signature does not cover.",
    )

    @field_validator("mlflow_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("OPPORTUNE_MLFLOW_URL must begin with http:// or https://")
        return value.rstrip("/")
