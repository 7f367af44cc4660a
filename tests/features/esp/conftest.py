"""The keys of all providers, made once; and how deliveries are made with them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def loaded() -> ModuleType:
    """`deliveries.py` beside this file; tests are no package, so it is loaded by its path."""
    name = "opportune_test_deliveries"
    if name not in sys.modules:
        file = Path(__file__).with_name("deliveries.py")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def esp() -> ModuleType:
    return loaded()


@pytest.fixture(scope="session")
def keys(esp: ModuleType) -> Any:
    return esp.Keys()


@pytest.fixture(scope="session")
def other_keys(esp: ModuleType) -> Any:
    """Keys of somebody else; nothing signed with them is ours."""
    own = esp.Keys()
    own.secrets |= {name: f"other:{name}" for name in esp.SECRETS}
    return own
