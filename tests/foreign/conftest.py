"""The foreign plugin is importable in these tests, and in no others of the run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Its folder on the path, as if it were installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parent))
        yield
    sys.modules.pop("acme_gauge", None)
