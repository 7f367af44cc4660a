"""What the environment tells the command line; nothing else reads environment variables."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the pipelines, each from a variable `OPPORTUNE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="OPPORTUNE_")

    data_dir: Path = Field(Path("var"), description="The directory that holds all data.")
    key_secret: SecretStr | None = Field(
        None, description="The secret that makes recipient keys of addresses (HMAC-SHA256)."
    )

    @property
    def events_dir(self) -> Path:
        """Where the event log lies."""
        return self.data_dir / "events"

    @property
    def rejects_dir(self) -> Path:
        """Where imports put the rows that were not accepted, unless told otherwise."""
        return self.data_dir / "rejects"
