"""The cart of the system tests, for what runs longer than they do."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _system() -> Any:
    """``tests/system/conftest.py`` as a module: folders of tests are no packages here."""
    name = "edgeai_tests_system_cart"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests/system/conftest.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def cart(tmp_path: Path, storescu: str, mosquitto: str) -> Iterator[Any]:
    """A cart without deployments that does not run yet."""
    made = _system().Cart(tmp_path, storescu)
    yield made
    made.close()


@pytest.fixture(name="until")
def _until() -> Any:
    return _system().until
