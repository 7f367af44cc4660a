"""The keys of all providers, made once; and how deliveries are made with them."""

from types import ModuleType
from typing import Any

import pytest

from tests.features.esp import deliveries


@pytest.fixture(scope="session")
def esp() -> ModuleType:
    return deliveries


@pytest.fixture(scope="session")
def keys(esp: ModuleType) -> Any:
    return esp.Keys()


@pytest.fixture(scope="session")
def other_keys(esp: ModuleType) -> Any:
    """Keys of somebody else; nothing signed with them is ours."""
    own = esp.Keys()
    own.secrets |= {name: f"other:{name}" for name in esp.SECRETS}
    return own
