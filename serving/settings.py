"""What the environment tells the scoring service."""

import re
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_PREFIX: Final = "OPPORTUNE_"
_HTTP: Final = re.compile(r"https?://[^/?#:@]")
_QUOTED: Final = re.compile(r'"(\w+)"')


class DataSettings(BaseSettings):
    """Where the data lie, for the service and the commands alike."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # some are secrets
        allow_inf_nan=False,
    )

    data_dir: Path = Field(Path("var"), description="The directory that holds all data.")
    key_secret: SecretStr | None = Field(
        None, description="The secret that makes recipient keys of addresses (HMAC-SHA256)."
    )
    render_secret: SecretStr | None = Field(
        None,
        description="The secret that signs links to /v1/render, 16 characters or more; without one "
        "there are no such links.",
        min_length=16,
    )
    online_store: SecretStr = Field(
        SecretStr(""),
        description="The Redis of the online store, `redis://user:password@host:6379/0`; a SQLite "
        "file in the data directory when empty.",
    )

    @property
    def events_dir(self) -> Path:
        """Where the event log lies."""
        return self.data_dir / "events"

    @property
    def online_file(self) -> Path:
        """The packed online store where it is a SQLite file."""
        return self.data_dir / "online.sqlite"

    @property
    def online_address(self) -> str:
        """The packed online store: a SQLite file or, with its password, a Redis."""
        return self.online_store.get_secret_value() or str(self.online_file)

    @property
    def decisions_dir(self) -> Path:
        """What the service has decided."""
        return self.data_dir / "decisions"

    @property
    def kept_address(self) -> str:
        """Where decisions are kept: a SQLite file of their own or the same Redis."""
        return self.online_store.get_secret_value() or str(self.data_dir / "kept.sqlite")

    @property
    def models_dir(self) -> Path:
        """Champions as serving reads them."""
        return self.data_dir / "models"

    @property
    def keys_file(self) -> Path:
        """Where the API keys lie, hashed."""
        return self.data_dir / "keys.json"

    @property
    def audit_dir(self) -> Path:
        """Where it is written down who did what."""
        return self.data_dir / "audit"

    @property
    def erasures_dir(self) -> Path:
        """The proofs of what was erased."""
        return self.data_dir / "erasures"

    @property
    def rejects_dir(self) -> Path:
        """Where imports put the rows that were not accepted, unless told otherwise."""
        return self.data_dir / "rejects"

    @property
    def feast_dir(self) -> Path:
        """Where Feast's registry and the Parquet files behind its views lie."""
        return self.data_dir / "feast"

    @field_validator("online_store")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        address = value.get_secret_value()
        if address and not address.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                "OPPORTUNE_ONLINE_STORE must begin with redis://, rediss:// or unix://; leave it "
                "empty for a SQLite file in the data directory"
            )
        return value


class ServingSettings(DataSettings):
    """Settings of the service, each from a variable `OPPORTUNE_<NAME>`."""

    host: str = Field("127.0.0.1", description="The address the service listens on.")
    port: int = Field(8080, description="The port the service listens on.", ge=0, le=65_535)
    workers: int = Field(
        1,
        description="Processes that share the port; as many as there are cores is most.",
        ge=1,
        le=64,
    )
    mlflow_url: str = Field(
        "",
        description="An MLflow server whose `champion` aliases are followed; without one the "
        "champions that `opportune promote` put on disk serve.",
    )
    poll_s: float = Field(
        2.0, description="Seconds between looks at the champions.", gt=0, le=3_600
    )
    drain_s: float = Field(
        1.0,
        description="Seconds from SIGTERM until the port is closed; meanwhile each answer ends its "
        "connection.",
        ge=0,
        le=60,
    )
    max_body_bytes: int = Field(
        4 * 1024 * 1024, description="A larger request body is refused with 413.", gt=0
    )
    max_stream_bytes: int = Field(
        256 * 1024 * 1024,
        description="The same for recipients that are asked for line by line.",
        gt=0,
    )
    deadline_ms: float = Field(
        150.0,
        description="Milliseconds within which a score is answered, by the priors if need be; a "
        "batch has 2 more for each item. Callers lower it with `X-Deadline-Ms`.",
        gt=0,
        le=60_000,
    )
    decision_log: bool = Field(
        default=True,
        description="Whether every answer is written to `decisions/` in the data directory.",
    )
    epsilon: float = Field(
        0.05,
        description="Share of mails whose first item is drawn, the cold ones preferred; 0 never.",
        ge=0,
        le=1,
    )
    epsilon_hour: float = Field(
        0.05,
        description="Share of mails whose hour is drawn from the allowed ones; 0 never.",
        ge=0,
        le=1,
    )
    holdout: float = Field(
        0.05,
        description="Share of recipients who get the sender's own hour and order, to compare with.",
        ge=0,
        le=1,
    )
    sticky_days: float = Field(
        30.0,
        description="Days for which a mail with a `send_id` is answered the same; 0: not at all.",
        ge=0,
        le=366,
    )
    holdout_salt: str = Field(
        "", description="Who is held out; another text draws other people. At most 64 bytes count."
    )
    shadow_share: float = Field(
        0.1,
        description="Share of recipients whom a shadow scores too, the same ones each time.",
        ge=0,
        le=1,
    )
    metrics_open: bool = Field(
        default=True,
        description="Whether /metrics needs no API key; else one with the scope `admin`.",
    )
    traces: bool = Field(
        default=False,
        description="Whether requests are traced (extra `tracing`); where to is said by the "
        "variables OTEL_EXPORTER_OTLP_*.",
    )
    trace_share: float = Field(
        0.01,
        description="Share of the requests that are traced, of those whose caller has not decided.",
        ge=0,
        le=1,
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
        if value and not _HTTP.match(value):
            raise ValueError(
                "OPPORTUNE_MLFLOW_URL must begin with http:// or https:// and name a host, such as "
                "http://mlflow:5000"
            )
        return value.rstrip("/")


def wrong_settings(error: ValidationError | SettingsError) -> list[str]:
    """What is wrong with the environment, variable by variable, without what it holds."""
    if isinstance(error, SettingsError):
        names = [name.upper() for name in _QUOTED.findall(str(error))[:1]]
        return [
            f"{_PREFIX}{name} is no JSON; write it as in docs/configuration.md" for name in names
        ]
    found = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        name = _PREFIX + str(one["loc"][0]).upper()
        told = one["msg"].removeprefix("Value error, ")
        found.append(told if told.startswith(name) else f"{name}: {told}")
    return found
