"""Where `feast` on the command line finds the data: what OPPORTUNE_DATA_DIR tells `opportune` too.

Feast changes its working directory before it reads definitions, so a relative directory is taken
from the checkout's root, where `opportune` is run, and never from wherever Feast stands.
"""

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

REPO: Final = Path(__file__).parent / "feast_repo"
_ROOT: Final = Path(__file__).parents[1]


class FeastPlace(BaseSettings):
    """Registry, sources and online store of the environment that `feast` runs in."""

    model_config = SettingsConfigDict(
        env_prefix="OPPORTUNE_", env_ignore_empty=True, hide_input_in_errors=True
    )

    data_dir: Path = Field(Path("var"), description="The directory that holds all data.")
    online_store: SecretStr = Field(
        SecretStr(""), description="The Redis of the online store; SQLite when empty."
    )

    @property
    def folder(self) -> Path:
        """Where the registry and the Parquet files behind the views lie."""
        return self._data / "feast"

    @property
    def online_address(self) -> str:
        """The packed online store: a SQLite file or, with its password, a Redis."""
        return self.online_store.get_secret_value() or str(self._data / "online.sqlite")

    @property
    def _data(self) -> Path:
        if not self.data_dir.is_absolute() and not (_ROOT / "pyproject.toml").exists():
            raise ValueError(
                f"OPPORTUNE_DATA_DIR = {str(self.data_dir)!r}: outside a checkout Feast needs an "
                "absolute directory; give the one that `opportune` works in"
            )
        return _ROOT / self.data_dir
